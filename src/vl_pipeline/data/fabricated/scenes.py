"""Scenes: an object of some class over a background, never twice the same way.

A scene says what a caption could mention (class, colour, setting, style, companion). Rendering
adds what no caption mentions: place, size, turn, deformation, light, noise.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageDraw

from vl_pipeline.data.fabricated.drawings import DRAWINGS
from vl_pipeline.data.fabricated.randomness import happens, pick
from vl_pipeline.data.fabricated.settings import RGB, SETTINGS, paint_background
from vl_pipeline.data.fabricated.shapes import Paint

COLOURS: dict[str, RGB] = {
    "red": (205, 45, 45),
    "orange": (235, 130, 40),
    "yellow": (240, 210, 60),
    "green": (60, 150, 70),
    "turquoise": (50, 180, 175),
    "blue": (50, 90, 195),
    "purple": (130, 65, 165),
    "pink": (240, 140, 180),
    "brown": (125, 80, 45),
    "grey": (125, 130, 135),
    "white": (238, 238, 232),
    "black": (42, 40, 45),
}
# Most pictures are in colour, some are outlines or shadows.
STYLES = ("filled",) * 8 + ("outline", "silhouette")

_FIXED_PAINTS: dict[Paint, RGB] = {
    "pale": (242, 240, 232),
    "ink": (38, 36, 44),
    "wood": (140, 95, 55),
    "leaf": (75, 140, 60),
    "flame": (250, 165, 40),
}
_ALL_PAINTS: tuple[Paint, ...] = get_args(Paint)
_OVERSAMPLING = 2  # drawn at twice the size and averaged down, which smooths the edges


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a picture shows, as far as words go.

    Attributes:
        class_name: A key of `DRAWINGS`: what the picture is of.
        colour: A key of `COLOURS`; independent of the class.
        setting: A key of `SETTINGS`; independent of the class.
        style: `filled`, `outline` or `silhouette`.
        companion: A small second object, of another class, or None.
    """

    class_name: str
    colour: str
    setting: str
    style: str
    companion: str | None


def draw_scene(class_name: str, rng: np.random.Generator) -> Scene:
    """Draw everything but the class at random."""
    others = [name for name in DRAWINGS if name != class_name]
    return Scene(
        class_name=class_name,
        colour=pick(rng, tuple(COLOURS)),
        setting=pick(rng, tuple(SETTINGS)),
        style=pick(rng, STYLES),
        companion=pick(rng, others) if happens(rng, 0.3) else None,
    )


def render_scene(scene: Scene, rng: np.random.Generator, *, image_size_px: int) -> Image.Image:
    """Render a scene; two calls with equal streams give equal pixels."""
    background = paint_background(SETTINGS[scene.setting], rng, image_size_px=image_size_px)
    side = image_size_px * _OVERSAMPLING
    canvas = Image.fromarray(background).resize((side, side), Image.Resampling.NEAREST)
    if scene.companion is not None:
        colour = pick(rng, tuple(COLOURS))
        _draw_object(canvas, scene.companion, colour, scene.style, rng, (0.09, 0.14))
    _draw_object(canvas, scene.class_name, scene.colour, scene.style, rng, (0.34, 0.47))
    return photograph(canvas.reduce(_OVERSAMPLING), rng)


def photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light an image from one side and add a sensor's noise."""
    width, height = image.size
    slope_down, slope_across = rng.uniform(-0.25, 0.25, 2)
    down = np.linspace(-slope_down, slope_down, height, dtype=np.float32)[:, None, None]
    across = np.linspace(-slope_across, slope_across, width, dtype=np.float32)[None, :, None]
    lit = (down + across + np.float32(rng.uniform(0.75, 1.15))) * np.asarray(image)
    noise = rng.random((height, width, 3), dtype=np.float32) - np.float32(0.5)
    pixels = lit + noise * np.float32(rng.uniform(4, 28))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _draw_object(
    canvas: Image.Image,
    class_name: str,
    colour: str,
    style: str,
    rng: np.random.Generator,
    radii: tuple[float, float],
) -> None:
    """Draw one object in place; `radii` are the least and the most of its size, image side = 1."""
    side = canvas.size[0]
    radius = rng.uniform(*radii)
    centre = rng.uniform(radius * 0.9, 1 - radius * 0.9, 2)
    placed = _random_placement(rng) * radius * side
    paints = _paints(colour, style, rng)
    has_border = style == "outline" or (style == "filled" and happens(rng, 0.5))
    border = paints["ink"] if has_border else None
    draw = ImageDraw.Draw(canvas)
    for part in DRAWINGS[class_name]:
        wobble = rng.normal(0, 0.02 * radius * side, part.points.shape)
        points = part.points @ placed + centre * side + wobble
        draw.polygon(points.ravel().tolist(), fill=paints[part.paint], outline=border)


def _random_placement(rng: np.random.Generator) -> Float[ndarray, "2 2"]:
    """A turn of up to 15 degrees, a shear, a stretch, and a mirror image half of the time."""
    angle = rng.uniform(-np.pi / 12, np.pi / 12)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    mirror = -1.0 if happens(rng, 0.5) else 1.0
    width, height = rng.uniform(0.8, 1.0, 2)
    return np.array([[width * mirror, 0.0], [rng.uniform(-0.2, 0.2), height]]) @ turn


def _paints(colour: str, style: str, rng: np.random.Generator) -> dict[Paint, RGB]:
    main = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 16, 3), 0, 255)
    shades: dict[Paint, RGB] = {
        "main": _rgb(main),
        "dark": _rgb(main * 0.62),
        "light": _rgb(main * 0.5 + 125),
    }
    if style == "silhouette":
        return dict.fromkeys(_ALL_PAINTS, shades["main"])
    if style == "outline":
        return {**dict.fromkeys(_ALL_PAINTS, _FIXED_PAINTS["pale"]), "ink": shades["main"]}
    return shades | _FIXED_PAINTS


def _rgb(colour: Float[ndarray, " 3"]) -> RGB:
    red, green, blue = (int(channel) for channel in colour)
    return red, green, blue
