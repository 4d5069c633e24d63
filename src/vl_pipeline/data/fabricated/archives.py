"""JPEG files and tar archives whose bytes depend on their content alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from webdataset.writer import TarWriter

JPEG_QUALITY = 85  # of a picture's first copy; img2dataset's default is 95, photos online have less


def jpeg_bytes(image: Image.Image, *, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an image as JPEG; Pillow writes no date."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def open_archive(path: Path) -> TarWriter:
    """Open a webdataset archive for writing, with one owner, mode and time for every member."""
    from webdataset.writer import TarWriter  # imports torch: seconds

    # A whole number of seconds: a fraction would add a PAX header of 1 KiB to each member.
    return TarWriter(
        str(path), user="bigdata", group="bigdata", mode=0o444, mtime=1_700_000_000, encoder=False
    )
