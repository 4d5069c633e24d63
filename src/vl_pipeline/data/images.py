"""From compressed bytes to RGB pixels, without doing more work than the target size needs.

JPEG decoders can scale by n/8 in the frequency domain almost for free. An image that will be
resized to 64 pixels need not be decoded at 512: it is decoded at the smallest scale that still
leaves a margin over the target, then resized.
"""

import io
import re

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from vl_pipeline.errors import ShardError

MAX_PIXELS = 2**28 // 3
"""Images of more pixels are refused: over 256 MB of memory each, whatever their file's size."""

_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")
_JPEG_MAGIC = b"\xff\xd8\xff"


def decode_rgb(
    data: bytes, *, min_side_px: int | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode an image of any format Pillow knows to RGB; the first frame of an animation.

    Args:
        data: The compressed file.
        min_side_px: Decode a JPEG at a reduced scale whose sides are still at least this long;
            None decodes at full size. Other formats are always decoded at full size.
        max_pixels: Larger images are refused before any pixel is decoded.

    Raises:
        ShardError: If the bytes are no image, an incomplete one, or one above `max_pixels`.
    """
    try:
        if data.startswith(_JPEG_MAGIC):
            return _decode_jpeg(data, min_side_px=min_side_px, max_pixels=max_pixels)
        return _decode_with_pillow(data, max_pixels=max_pixels)
    # Pillow's plugins raise whatever their parsers meet on hostile bytes, from SyntaxError to
    # struct.error; here all of it means one thing.
    except Exception as error:
        if isinstance(error, ShardError):
            raise
        what = _ADDRESS.sub("", str(error))  # which differs in every run
        raise ShardError(f"unreadable image ({type(error).__name__}: {what})") from error


def _decode_jpeg(data: bytes, *, min_side_px: int | None, max_pixels: int) -> np.ndarray:
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return _decode_with_pillow(data, max_pixels=max_pixels)
    _refuse_bomb(int(width), int(height), max_pixels)
    if colorspace in ("CMYK", "YCCK"):
        return _decode_with_pillow(data, max_pixels=max_pixels)
    smallest = min_side_px or 0
    try:
        return simplejpeg.decode_jpeg(
            data, "RGB", min_height=smallest, min_width=smallest, min_factor=1, strict=True
        )
    except ValueError:  # warnings of libjpeg: Pillow tells the harmless ones from lost pixels
        return _decode_with_pillow(data, max_pixels=max_pixels)


def _decode_with_pillow(data: bytes, *, max_pixels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        _refuse_bomb(image.width, image.height, max_pixels)
        return np.asarray(image.convert("RGB"))


def _refuse_bomb(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ShardError(f"image of {width}x{height} px exceeds the limit of {max_pixels} pixels")
