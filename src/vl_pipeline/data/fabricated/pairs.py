"""What a listed row becomes: image bytes and caption, with the row's fault planted in them."""

from PIL import Image

from vl_pipeline.data.fabricated.captions import boilerplate, decorate
from vl_pipeline.data.fabricated.pictures import caption, jpeg_bytes, render
from vl_pipeline.data.fabricated.randomness import generator, happens
from vl_pipeline.data.fabricated.rows import Corruption, Row

# Other qualities than the first copy's (85): the same picture, saved again by someone else.
_NEAR_DUPLICATE_QUALITY = 72
_LEAK_QUALITY = 60
_MOST_CROPPED = 0.035  # of a side, at each of its ends
_HTML_PAGE = b"""<!DOCTYPE html>
<html><head><title>404 Not Found</title></head>
<body><h1>Not Found</h1><p>The picture has moved.</p></body></html>
"""
_NO_CAPTION: tuple[Corruption, ...] = ("null_caption", "missing_caption")


def row_image(row: Row, *, image_size_px: int) -> Image.Image:
    """The pixels of a row before they are encoded; a near duplicate's are cropped."""
    image = render(row.picture, image_size_px=image_size_px)
    if row.fault != "near_duplicate":
        return image
    rng = generator(row.picture.seed, "crop", row.index)
    left, top, right, bottom = rng.integers(1, 2 + int(_MOST_CROPPED * image_size_px), 4).tolist()
    return image.crop((left, top, image_size_px - right, image_size_px - bottom))


def encode_row_image(row: Row, image: Image.Image) -> bytes:
    """Encode a row's image as its first copy, or as a later copy of another picture."""
    if row.fault == "near_duplicate":
        return jpeg_bytes(image, quality=_NEAR_DUPLICATE_QUALITY)
    if row.fault == "leaked":
        return jpeg_bytes(image, quality=_LEAK_QUALITY)
    return jpeg_bytes(image)


def damage_bytes(row: Row, data: bytes) -> bytes:
    """What a server sent instead of `data`, where the row is corrupt in that way."""
    if row.corruption == "truncated_jpeg":
        rng = generator(row.picture.seed, "truncation", row.index)
        scan = data.index(b"\xff\xda")  # before it are tables; a cut within it loses pixels
        return data[: scan + int((len(data) - scan) * rng.uniform(0.3, 0.8))]
    if row.corruption == "html_page":
        return _HTML_PAGE
    if row.corruption == "zero_bytes":
        return b""
    return data


def row_caption(row: Row) -> str | None:
    """The caption that a row is listed with."""
    if row.fault == "boilerplate":
        return boilerplate(generator(row.picture.seed, "boilerplate", row.index))
    if row.corruption in _NO_CAPTION:
        return None
    if row.corruption == "empty_caption":
        return ""
    text = caption(row.captioned)
    if row.fault == "near_duplicate":
        rng = generator(row.picture.seed, "decoration", row.index)
        return decorate(text, rng) if happens(rng, 0.5) else text
    return text
