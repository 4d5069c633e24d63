"""From compressed bytes to RGB pixels, without doing more work than the target size needs.

JPEG decoders can scale by n/8 in the frequency domain almost for free. An image that will be
resized to 64 pixels need not be decoded at 512: it is decoded at the smallest scale that still
leaves a margin over the target, then resized.

Pixels are what a browser shows: upright as Exif says, transparent parts white, the first frame of
an animation, 16 bits rounded to 8.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from vl_pipeline.errors import ShardError

MAX_PIXELS = 2**28 // 3
"""Images of more pixels are refused: over 256 MB of memory each, whatever their file's size."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
"""What is decoded. Of the rest of what Pillow knows, some start programs: EPS runs Ghostscript."""

DIVISORS = (8, 4, 2, 1)
"""libjpeg-turbo has vector code for these alone: 6/8 takes longer than 8/8, and shows less."""

_JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_MAGIC = b"Exif\0\0"
_MARKER, _APP1, _START_OF_SCAN = 0xFF, 0xE1, 0xDA
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)  # what Exif calls pictures whose sides are swapped


class OversizedImageError(ShardError):
    """An image that would take more memory than is allowed."""


def decode_rgb(
    data: bytes,
    *,
    min_side_px: int | None = None,
    divided_by: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode an image of one of `FORMATS`, whatever its name says, to upright RGB.

    Args:
        data: The compressed file.
        min_side_px: Decode a JPEG at a reduced scale whose sides are still at least this long;
            None decodes at full size. Other formats are always decoded at full size.
        divided_by: One of `DIVISORS`, by which a JPEG's sides are divided, in the place of a
            least side.
        max_pixels: Larger images are refused before any pixel is decoded.

    Raises:
        OversizedImageError: If the image has more than `max_pixels`.
        ShardError: If the bytes are no image, or an incomplete one.
    """
    with _one_kind_of_error():
        if data.startswith(_JPEG_MAGIC):
            return _decode_jpeg(
                data, min_side_px=min_side_px, divided_by=divided_by, max_pixels=max_pixels
            )
        return _decode_with_pillow(data, max_pixels=max_pixels)


def upright_size(data: bytes) -> tuple[int, int]:
    """Read width and height of an image, as `decode_rgb` gives it, without decoding it.

    Raises:
        ShardError: If the bytes are no image.
    """
    with _one_kind_of_error():
        if data.startswith(_JPEG_MAGIC) and not _has_exif(data):
            try:
                height, width, *_ = simplejpeg.decode_jpeg_header(data)
                return int(width), int(height)
            except ValueError:  # what Pillow may still read
                pass
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        yield
    except ShardError:
        raise
    except Image.UnidentifiedImageError as error:  # whose message differs from run to run
        raise ShardError(f"no image of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise OversizedImageError(str(error)) from error
    # Pillow's plugins raise whatever their parsers meet on hostile bytes, from SyntaxError to
    # struct.error; here all of it means one thing.
    except Exception as error:
        raise ShardError(f"unreadable image ({type(error).__name__}: {error})") from error


def _decode_jpeg(
    data: bytes, *, min_side_px: int | None, divided_by: int | None, max_pixels: int
) -> np.ndarray:
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return _decode_with_pillow(data, max_pixels=max_pixels)
    height, width = int(height), int(width)
    _refuse_bomb(width, height, max_pixels)
    if colorspace in ("CMYK", "YCCK"):
        return _decode_with_pillow(data, max_pixels=max_pixels)
    smallest = min_side_px or 0
    if divided_by is not None:
        smallest = -(-min(height, width) // divided_by)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=smallest, min_width=smallest, min_factor=1, strict=True
        )
    except ValueError:  # warnings of libjpeg: Pillow tells the harmless ones from lost pixels
        return _decode_with_pillow(data, max_pixels=max_pixels)
    if not _has_exif(data):
        return pixels
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return _upright(pixels, _orientation(image))


def _has_exif(data: bytes) -> bool:
    """Look through a JPEG's segments, which are few, up to where the picture begins."""
    place = 2
    while place + 4 <= len(data) and data[place] == _MARKER and data[place + 1] != _START_OF_SCAN:
        if data[place + 1] == _MARKER:  # any number of them may fill the space between segments
            place += 1
            continue
        if data[place + 1] == _APP1 and data.startswith(_EXIF_MAGIC, place + 4):
            return True
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _decode_with_pillow(data: bytes, *, max_pixels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _refuse_bomb(image.width, image.height, max_pixels)
        return _upright(np.asarray(_rgb(image)), _orientation(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255. 65535 / 255 = 257.
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Exif is another parser to hostile bytes; the pixels are fine without it
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as Exif's orientation says: 2 to 4 mirror, 5 to 8 swap the sides as well."""
    if orientation in _ON_ITS_SIDE:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _refuse_bomb(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise OversizedImageError(
            f"image of {width}x{height} px exceeds the limit of {max_pixels} pixels"
        )
