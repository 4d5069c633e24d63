"""Tar archives for others to read, whose bytes depend on their content alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webdataset.writer import TarWriter


def open_archive(path: Path) -> TarWriter:
    """Open a webdataset archive for writing, with one owner, mode and time for every member."""
    from webdataset.writer import TarWriter  # imports torch: seconds

    # A whole number of seconds: a fraction would add a PAX header of 1 KiB to each member.
    return TarWriter(
        str(path), user="bigdata", group="bigdata", mode=0o444, mtime=1_700_000_000, encoder=False
    )
