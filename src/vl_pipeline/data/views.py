"""Views of an image: the crops a model is trained on, and the one it is evaluated on.

Pixels stay 8-bit here; they become numbers around zero on the device that uses them.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from jaxtyping import UInt8
from PIL import Image
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.images import decode_rgb

Pixels = UInt8[np.ndarray, "side side 3"]

_ASPECT = (3 / 4, 4 / 3)  # of a random crop; torchvision's RandomResizedCrop, used by CiT and CLIP
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


def training_view(
    data: bytes,
    views: TrainingViews,
    *,
    side_px: int,
    draw: np.random.Generator,
    resize_px: int | None = None,
) -> Pixels:
    """Cut a random crop out of a compressed image and resize it to a square.

    The image is decoded at the smallest scale at which no crop has to be enlarged for it.

    Args:
        data: The compressed image.
        views: How the crop is drawn.
        side_px: Of the square.
        draw: Source of chance.
        resize_px: The crop is `side_px` of this of each side, as if the image had been resized to
            a square of it first; given if and only if `views` has no `min_crop_fraction`.
    """
    fraction = views.min_crop_fraction
    if fraction is None:
        assert resize_px is not None
        pixels = decode_rgb(data, min_side_px=resize_px)
        place = draw.integers(0, resize_px - side_px, size=2, endpoint=True)
        box = _box_of_resized(pixels, (int(place[0]), int(place[1])), side_px, resize_px)
    else:
        pixels = decode_rgb(
            data, min_side_px=int(np.ceil(side_px / np.sqrt(fraction * _ASPECT[0])))
        )
        box = _draw_crop(pixels.shape[1], pixels.shape[0], fraction, draw)
    view = _resize(pixels, box, side_px)
    return view[:, ::-1] if draw.random() < views.flip_probability else view


def evaluation_view(data: bytes, *, side_px: int, resize_px: int | None = None) -> Pixels:
    """Resize the shorter side to `side_px` and take the centre square.

    With `resize_px`, resize both sides to that instead, and take `side_px` of the middle.
    """
    if resize_px is not None:
        pixels = decode_rgb(data, min_side_px=resize_px)
        middle = (resize_px - side_px) // 2
        return _resize(
            pixels, _box_of_resized(pixels, (middle, middle), side_px, resize_px), side_px
        )
    pixels = decode_rgb(data, min_side_px=side_px)
    height, width, _ = pixels.shape
    shorter = min(height, width)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    return _resize(pixels, (left, top, left + shorter, top + shorter), side_px)


def _draw_crop(
    width: int, height: int, min_fraction: float, draw: np.random.Generator
) -> tuple[float, float, float, float]:
    for _ in range(_TRIES):
        area = width * height * draw.uniform(min_fraction, 1.0)
        aspect = np.exp(draw.uniform(*np.log(_ASPECT)))
        crop_width, crop_height = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if crop_width <= width and crop_height <= height:
            left = draw.uniform(0, width - crop_width)
            top = draw.uniform(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    shorter = min(width, height)  # no crop fits a long strip; take its middle
    left, top = (width - shorter) / 2, (height - shorter) / 2
    return left, top, left + shorter, top + shorter


def _box_of_resized(
    pixels: np.ndarray, place: tuple[int, int], side_px: int, resize_px: int
) -> tuple[float, float, float, float]:
    """Find what a square at `place` (left, top) of the resized image covers of the image."""
    height, width, _ = pixels.shape
    (left, top), right, bottom = place, place[0] + side_px, place[1] + side_px
    x, y = width / resize_px, height / resize_px
    return left * x, top * y, right * x, bottom * y


def _resize(pixels: np.ndarray, box: tuple[float, float, float, float], side_px: int) -> Pixels:
    # Pillow widens its bicubic kernel when it shrinks, so this averages like an area filter.
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)
