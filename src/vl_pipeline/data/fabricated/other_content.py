"""Pictures of nothing that has a class: charts, screenshots of text, textures.

A good part of their captions uses the name of a target class in another sense, so that a search
for class names as words finds more than it should.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from vl_pipeline.data.fabricated.randomness import happens, pick
from vl_pipeline.data.fabricated.scenes import photograph

_TOPICS = (
    "revenue", "costs", "visitors", "rainfall", "exports", "staff", "energy use", "rents",
    "downloads", "complaints", "deliveries", "turnout",
)  # fmt: skip
_BREAKDOWNS = ("by region", "by month", "by age group", "since 2009", "per quarter", "2015 to 2023")
_DOCUMENTS = (
    "terms and conditions", "minutes of the meeting", "opening hours", "cookie settings",
    "conference programme", "screenshot of the settings page", "sign in or create an account",
    "privacy notice", "error 503 service unavailable", "list of references", "menu of the day",
    "press release", "timetable from December", "reader letters", "application form page 2",
)  # fmt: skip
_MATERIALS = ("marble", "linen", "concrete", "felt", "paper", "rust", "granite", "denim", "plaster")
_TEXTURE_PHRASES = ("texture", "seamless pattern", "wallpaper", "background", "surface close-up")

# Target class names as words, in a sense that is not the target.
_OTHER_SENSES: dict[str, tuple[str, ...]] = {
    "chart": (
        "key figures of the quarter", "house prices since 1990", "car insurance premiums by age",
        "star ratings of hotels by district", "decision tree with three outcomes",
        "fish stocks and quotas 2012 to 2022", "cup final attendance by year",
        "rocket salad prices per kilo", "guitar lesson bookings by month",
        "umbrella fund performance", "costs mushroom in the third quarter",
    ),
    "document": (
        "house rules for guests", "key terms of the contract", "fish and chips menu",
        "house of representatives, order of business", "car park charges and penalties",
        "five star review: would book again", "umbrella insurance explained",
        "family tree of the royal line", "world cup fixtures and results",
        "flower delivery order form", "butterfly effect, chapter two",
        "guitar chords for beginners", "lamp replacement instructions",
        "rocket science course outline", "press any key to continue",
    ),
    "texture": (
        "star pattern wrapping paper", "tree bark texture", "fish scale surface",
        "mushroom grey wall paint", "house paint sample, eggshell", "cactus green swatch",
        "flower print fabric seamless", "butterfly wing iridescence, macro",
        "car paint, metallic flake",
    ),
}  # fmt: skip


def caption_other_content(kind: str, rng: np.random.Generator) -> str:
    """A caption that fits the kind of picture; a quarter use a class name in another sense."""
    if happens(rng, 0.25):
        return pick(rng, _OTHER_SENSES[kind])
    if kind == "chart":
        form = pick(rng, ("{} {}", "chart: {} {}", "Figure {number}. {} {}", "bar chart of {} {}"))
        number = int(rng.integers(1, 30))
        return form.format(pick(rng, _TOPICS), pick(rng, _BREAKDOWNS), number=number)
    if kind == "document":
        return pick(rng, ("{}", "{} (screenshot)", "{} - page", "scan of {}")).format(
            pick(rng, _DOCUMENTS)
        )
    return f"{pick(rng, _MATERIALS)} {pick(rng, _TEXTURE_PHRASES)}"


def render_other_content(kind: str, rng: np.random.Generator, *, image_size_px: int) -> Image.Image:
    """Render a picture of the kind; two calls with equal streams give equal pixels."""
    return photograph(_RENDERERS[kind](rng, image_size_px), rng)


def _chart(rng: np.random.Generator, size: int) -> Image.Image:
    image = Image.new("RGB", (size, size), _random_colour(rng, 200))
    draw = ImageDraw.Draw(image)
    heights = rng.uniform(0.1, 0.8, int(rng.integers(3, 9))) * size
    colour, step, base = _random_colour(rng, 0), size * 0.9 / len(heights), size * 0.92
    lefts = size * 0.07 + step * np.arange(len(heights))
    if happens(rng, 0.5):
        for left, height in zip(lefts.tolist(), heights.tolist(), strict=True):
            draw.rectangle((left, base - height, left + step * 0.7, base), fill=colour)
    else:
        points = np.stack([lefts, base - heights], axis=1).ravel().tolist()
        draw.line(points, fill=colour, width=size // 24)
    draw.line((size * 0.05, size * 0.05, size * 0.05, base, size * 0.97, base), fill=(60, 60, 60))
    return image


def _document(rng: np.random.Generator, size: int) -> Image.Image:
    image = Image.new("RGB", (size, size), _random_colour(rng, 215))
    draw = ImageDraw.Draw(image)
    ink = _random_colour(rng, 0, most=110)
    line_height = size / int(rng.integers(9, 16))
    draw.rectangle((0, 0, size, line_height * 1.5), fill=_random_colour(rng, 40))
    for top in np.arange(line_height * 2.2, size * 0.95, line_height).tolist():
        left, right = size * 0.06, size * rng.uniform(0.4, 0.95)
        while left < right:
            word = size * rng.uniform(0.03, 0.14)
            draw.rectangle((left, top, min(left + word, right), top + line_height * 0.4), fill=ink)
            left += word + size * 0.03
    return image


def _texture(rng: np.random.Generator, size: int) -> Image.Image:
    """Blotches of several sizes, stretched in one direction, in shades of one colour."""
    shape = (size, size)
    total = np.zeros(shape, dtype=np.float32)
    for cells in (3, 8, 24):
        grid = rng.uniform(-1, 1, (cells, max(2, int(cells * rng.uniform(0.3, 1)))))
        layer = Image.fromarray(grid.astype(np.float32)).resize(shape, Image.Resampling.BICUBIC)
        total += np.asarray(layer) * np.float32(rng.uniform(5, 45))
    pixels = np.array(_random_colour(rng, 40)) + total[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _random_colour(rng: np.random.Generator, least: int, most: int = 255) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in rng.integers(least, most, 3))
    return red, green, blue


_RENDERERS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    "chart": _chart,
    "document": _document,
    "texture": _texture,
}
KINDS = tuple(_RENDERERS)
