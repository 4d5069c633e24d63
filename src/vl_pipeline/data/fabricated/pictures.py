"""One picture of the fabricated world, known by name: its pixels and its words follow from that.

Nothing is kept in memory: whoever needs the same picture again (a duplicate, a leaked test image)
renders it again from its name.
"""

import io
from dataclasses import dataclass

from PIL import Image

from vl_pipeline.data.fabricated.captions import caption_scene, describe_scene
from vl_pipeline.data.fabricated.other_content import (
    KINDS,
    caption_other_content,
    render_other_content,
)
from vl_pipeline.data.fabricated.randomness import generator, pick
from vl_pipeline.data.fabricated.scenes import Scene, draw_scene, render_scene

JPEG_QUALITY = 85  # of a picture's first copy; img2dataset's default is 95, photos online have less


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The name of a picture.

    Attributes:
        purpose: What it is for: `pool`, or an evaluation split such as `scenes/test`.
        index: Its number among the pictures of this purpose.
        class_name: The class of its scene; None for a picture of other content.
        seed: The world's seed.
    """

    purpose: str
    index: int
    class_name: str | None
    seed: int


def render(picture: Picture, *, image_size_px: int) -> Image.Image:
    """Render the picture; always the same pixels for the same name."""
    rng = generator(picture.seed, f"{picture.purpose}/pixels", picture.index)
    if picture.class_name is None:
        return render_other_content(_kind(picture), rng, image_size_px=image_size_px)
    return render_scene(_scene(picture, picture.class_name), rng, image_size_px=image_size_px)


def caption(picture: Picture) -> str:
    """The caption that was written for the picture."""
    rng = generator(picture.seed, f"{picture.purpose}/caption", picture.index)
    if picture.class_name is None:
        return caption_other_content(_kind(picture), rng)
    return caption_scene(_scene(picture, picture.class_name), rng)


def descriptions(picture: Picture, *, number: int) -> list[str]:
    """Several people's descriptions of a picture that has a class."""
    if picture.class_name is None:
        raise ValueError(f"{picture} has no class; only scenes can be described")
    rng = generator(picture.seed, f"{picture.purpose}/descriptions", picture.index)
    scene = _scene(picture, picture.class_name)
    return [describe_scene(scene, rng) for _ in range(number)]


def _scene(picture: Picture, class_name: str) -> Scene:
    rng = generator(picture.seed, f"{picture.purpose}/scene", picture.index)
    return draw_scene(class_name, rng)


def _kind(picture: Picture) -> str:
    return pick(generator(picture.seed, f"{picture.purpose}/kind", picture.index), KINDS)


def jpeg_bytes(image: Image.Image, *, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an image as JPEG; Pillow writes no date."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
