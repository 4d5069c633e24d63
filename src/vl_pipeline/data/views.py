"""Views of an image: the crops a model is trained on, and the one it is evaluated on.

Pixels stay 8-bit here; they become numbers around zero on the device that uses them.

Two programs resize, both with the bicubic kernel that widens as it shrinks. Pillow takes any
fraction of a pixel as a crop's edge, which shows in small pictures. torch takes whole pixels, in
a sixth of the time, and is used for crops of pictures that are larger than a view needs.
"""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import UInt8
from PIL import Image
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.images import DIVISORS, decode_rgb, upright_size

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge, in pixels."""

Pixels = UInt8[np.ndarray, "side side 3"]

_ASPECT = (3 / 4, 4 / 3)  # of a random crop; torchvision's RandomResizedCrop, used by CiT and CLIP
_LOG_ASPECT = tuple(np.log(_ASPECT))
_SPARE = 7 / 8  # a picture this much of which would do is larger than a view needs
_TRIES = 10  # crops that do not fit are drawn again this often, then the centre is taken


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingViews:
    """How a training view is drawn from an image.

    Attributes:
        min_crop_fraction: Smallest share of the image's area that a crop may take; the largest
            is 1. None for models that resize the image first, and cut a square out of that.
        flip_probability: Chance that the crop is mirrored left to right.
    """

    min_crop_fraction: Annotated[float, Gt(0), Le(1)] | None
    flip_probability: Annotated[float, Ge(0), Le(1)]


def training_views(
    data: bytes,
    views: TrainingViews,
    *,
    num_views: int,
    side_px: int,
    draw: np.random.Generator,
    resize_px: int | None = None,
) -> list[Pixels]:
    """Cut random crops out of a compressed image and resize each to a square.

    The image is decoded once, at a scale at which no crop has to be enlarged for it.

    Args:
        data: The compressed image.
        views: How a crop is drawn.
        num_views: How many are drawn, one after the other.
        side_px: Of the squares.
        draw: Source of chance.
        resize_px: A crop is `side_px` of this of each side, as if the image had been resized to
            a square of it first; given if and only if `views` has no `min_crop_fraction`.
    """
    fraction, size = views.min_crop_fraction, (resize_px or 0, resize_px or 0)
    if fraction is not None:
        size = upright_size(data)
    boxes: list[Box] = []
    are_mirrored: list[bool] = []
    for _ in range(num_views):
        if fraction is None:
            left, top = draw.integers(0, size[0] - side_px, size=2, endpoint=True).tolist()
            boxes.append((left, top, left + side_px, top + side_px))
        else:
            boxes.append(_draw_crop(*size, fraction, draw))
        are_mirrored.append(draw.random() < views.flip_probability)
    if fraction is None:
        pixels, resize = decode_rgb(data, min_side_px=resize_px), _resize
    else:
        pixels = decode_rgb(data, divided_by=_divisor(boxes, side_px))
        needed = int(np.ceil(side_px / np.sqrt(fraction * _ASPECT[0])))  # at full size
        resize = _resize_whole if _SPARE * min(size) >= needed else _resize
    cut = [resize(pixels, _scaled(box, size, pixels), side_px) for box in boxes]
    return [_mirrored(v) if turn else v for v, turn in zip(cut, are_mirrored, strict=True)]


def evaluation_view(data: bytes, *, side_px: int, resize_px: int | None = None) -> Pixels:
    """Resize the shorter side to `side_px` and take the centre square.

    With `resize_px`, resize both sides to that instead, and take `side_px` of the middle.
    """
    if resize_px is not None:
        pixels = decode_rgb(data, min_side_px=resize_px)
        middle = (resize_px - side_px) // 2
        box = (middle, middle, middle + side_px, middle + side_px)
        return _resize(pixels, _scaled(box, (resize_px, resize_px), pixels), side_px)
    pixels = decode_rgb(data, min_side_px=side_px)
    height, width, _ = pixels.shape
    shorter = min(height, width)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    return _resize(pixels, (left, top, left + shorter, top + shorter), side_px)


def _draw_crop(width: int, height: int, min_fraction: float, draw: np.random.Generator) -> Box:
    for _ in range(_TRIES):
        area = width * height * draw.uniform(min_fraction, 1.0)
        aspect = np.exp(draw.uniform(*_LOG_ASPECT))
        crop_width, crop_height = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if crop_width <= width and crop_height <= height:
            left = draw.uniform(0, width - crop_width)
            top = draw.uniform(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    shorter = min(width, height)  # no crop fits a long strip; take its middle
    left, top = (width - shorter) / 2, (height - shorter) / 2
    return left, top, left + shorter, top + shorter


def _divisor(boxes: list[Box], side_px: int) -> int:
    """Find the largest by which pictures can be divided with no box smaller than a view."""
    shortest = min(min(right - left, bottom - top) for left, top, right, bottom in boxes)
    return next((n for n in DIVISORS if shortest >= n * side_px), 1)


def _scaled(box: Box, size: tuple[int, int], pixels: np.ndarray) -> Box:
    """Find what a box of an image of this width and height covers of its pixels."""
    height, width, _ = pixels.shape
    left, top, right, bottom = box
    x, y = width / size[0], height / size[1]
    return left * x, top * y, right * x, bottom * y


def _resize(pixels: np.ndarray, box: Box, side_px: int) -> Pixels:
    # Pillow widens its bicubic kernel when it shrinks, so this averages like an area filter.
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    return np.array(image)


def _resize_whole(pixels: np.ndarray, box: Box, side_px: int) -> Pixels:
    left, top, right, bottom = (round(edge) for edge in box)
    # A copy with four axes, since torch answers in the order of its strides.
    crop = torch.from_numpy(pixels[None, top:bottom, left:right].copy()).permute(0, 3, 1, 2)
    size = (side_px, side_px)
    resized = torch.nn.functional.interpolate(crop, size, mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _mirrored(view: Pixels) -> Pixels:
    return torch.from_numpy(view).flip(1).numpy()  # an eighth of the time that numpy takes
