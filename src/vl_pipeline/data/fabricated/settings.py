"""What lies behind an object: two colours, a pattern, and how people put it into words."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

RGB = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A kind of background.

    Attributes:
        phrases: Ways to say where the object is; empty where nobody would mention it.
        colours: Top and bottom, or the two colours of the pattern; None draws a new pair each time.
        pattern: How the two colours meet.
    """

    phrases: tuple[str, ...]
    colours: tuple[RGB, RGB] | None
    pattern: Literal["gradient", "horizon", "stripes", "checks", "specks"]


SETTINGS: dict[str, Setting] = {
    "plain": Setting(phrases=(), colours=None, pattern="gradient"),
    "sea": Setting(
        phrases=("at sea", "by the ocean", "on the water"),
        colours=((170, 210, 235), (30, 90, 150)),
        pattern="horizon",
    ),
    "meadow": Setting(
        phrases=("in a meadow", "on the grass", "in a green field"),
        colours=((165, 205, 240), (95, 160, 70)),
        pattern="horizon",
    ),
    "beach": Setting(
        phrases=("on the beach", "in the sand", "at the seaside"),
        colours=((120, 190, 225), (225, 200, 150)),
        pattern="horizon",
    ),
    "snow": Setting(
        phrases=("in the snow", "in winter", "on a snowy day"),
        colours=((150, 170, 195), (240, 243, 250)),
        pattern="horizon",
    ),
    "sunset": Setting(
        phrases=("at sunset", "in the evening light", "under an orange sky"),
        colours=((110, 60, 120), (250, 160, 80)),
        pattern="gradient",
    ),
    "night": Setting(
        phrases=("at night", "in the dark", "under a night sky"),
        colours=((15, 20, 50), (40, 45, 90)),
        pattern="specks",
    ),
    "mist": Setting(
        phrases=("in the mist", "on a grey day", "in the fog"),
        colours=((175, 180, 185), (140, 145, 150)),
        pattern="gradient",
    ),
    "table": Setting(
        phrases=("on a wooden table", "on a wooden floor", "on old planks"),
        colours=((165, 115, 70), (130, 85, 50)),
        pattern="stripes",
    ),
    "wallpaper": Setting(
        phrases=("on striped wallpaper", "with stripes behind it"), colours=None, pattern="stripes"
    ),
    "cloth": Setting(
        phrases=("on a checked tablecloth", "on a picnic blanket", "on a chequered cloth"),
        colours=None,
        pattern="checks",
    ),
}


def paint_background(
    setting: Setting, rng: np.random.Generator, *, image_size_px: int
) -> UInt8[ndarray, "h w 3"]:
    """Paint a setting, with its colours, its angle and its texture a little different each time."""
    if setting.colours is None:
        first = rng.uniform(70, 255, 3)
        second = first + rng.normal(0, 25, 3)
    else:
        first, second = np.array(setting.colours) + rng.normal(0, 14, (2, 3))
    share = _pattern(setting.pattern, rng, image_size_px)[:, :, None]
    pixels = first * (1 - share) + second * share
    pixels += _blotches(rng, image_size_px)[:, :, None]
    return pixels.clip(0, 255).astype(np.uint8)


def _blotches(rng: np.random.Generator, size: int) -> Float[ndarray, "h w"]:
    """Soft light and dark places, as on any real surface."""
    coarse = rng.normal(0, rng.uniform(0, 15), (8, 8)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _pattern(name: str, rng: np.random.Generator, size: int) -> Float[ndarray, "h w"]:
    """How much of the second colour each pixel has, in [0, 1]; beyond it for a bright speck."""
    across = np.linspace(0, 1, size)[None, :]
    down = across.T
    if name == "horizon":
        return (down + rng.uniform(-0.1, 0.1) * across > rng.uniform(0.35, 0.7)).astype(float)
    if name == "gradient":
        return np.clip(down + rng.uniform(-0.5, 0.5) * (across - 0.5), 0, 1)
    if name == "specks":
        return np.where(rng.random((size, size)) < 0.01, 4.0, down)
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(15, 45)
    along = np.sin(frequency * (down * np.cos(angle) + across * np.sin(angle)))
    if name == "stripes":
        return (along > 0).astype(float)
    askew = np.sin(frequency * (across * np.cos(angle) - down * np.sin(angle)))
    return (along * askew > 0).astype(float)
