"""Plain forms: files whose pictures cannot be read in place, once more as an uncompressed tar.

A gzip tar is decompressed as it is. Of a Parquet or Arrow file the tar holds each picture of each
picture column, row by row. Either way the bytes follow from the file's content alone, and the tar
lies under a digest of that content: a file that changed has another plain form, and a plain form
that was deleted is made again with each picture where it was. Digests are remembered beside the
file's stamp, so that an unchanged file is not read to find its plain form.
"""

import gzip
import json
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vl_pipeline.data.atomic import atomic_file, write_json
from vl_pipeline.data.digest import digest_of_stream, digest_of_strings
from vl_pipeline.data.pairs import MAX_PLAIN_BYTES
from vl_pipeline.data.sources.folder import LocalFile, OpenFile, SourceFolder
from vl_pipeline.data.sources.pictures import (
    DamagedTableError,
    PictureRow,
    holds_table,
    read_picture_rows,
)

PLAIN_FORMS = Path("data/scratch/plain")
"""Where plain forms lie, below the project's root."""

HEAD_BYTES = 8
GZIP_MAGIC = b"\x1f\x8b"
_FORMAT = "1"  # of what this module writes; another one lies under other digests
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class PlacedRow:
    """A row, and the offset of each of its pictures in the plain form, by column."""

    row: PictureRow
    offsets: dict[str, list[int]]


def needs_plain_form(head: bytes) -> bool:
    """Say whether a file that begins like this cannot be read in place."""
    return head.startswith(GZIP_MAGIC) or holds_table(head)


class PlainForms:
    """A folder of plain forms; all of it may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = threading.Lock()

    def open(self, folder: SourceFolder, name: str) -> OpenFile:
        """Open the plain form of a file; it is made where there is none.

        Raises:
            ShardError: If the file cannot be read.
            OSError: The same, on disk.
        """
        with self._one_at_a_time:
            stamp = folder.stamp(name)
            place = self._remembered(folder.address(name), stamp)
            if place is None or not place.exists():
                with folder.local_copy(name) as source:
                    place = self.place_of(source, address=folder.address(name), stamp=stamp)
                    if not place.exists():
                        write_plain_form(source, place, max_bytes=MAX_PLAIN_BYTES)
            return LocalFile(place)

    def place_of(self, source: Path, *, address: str, stamp: str) -> Path:
        """Give the place of a file's plain form, and remember it for as long as the stamp holds.

        Args:
            source: The file's content.
            address: What the file is remembered by.
            stamp: Of the file, taken before its content was read.
        """
        digest = digest_of_stream(_chunks_of(source))
        write_json(self._memory_of(address), {"stamp": stamp, "digest": digest})
        return self._place(digest)

    def _remembered(self, address: str, stamp: str) -> Path | None:
        memory = self._memory_of(address)
        if not memory.exists():
            return None
        known = json.loads(memory.read_text())
        return self._place(known["digest"]) if known["stamp"] == stamp else None

    def _place(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.tar"

    def _memory_of(self, address: str) -> Path:
        digest = digest_of_strings([address])
        return self._folder / digest[:2] / f"{digest}.json"


def write_plain_form(source: Path, place: Path, *, max_bytes: int) -> None:
    """Write the plain form of a file; of a damaged or too large one, what comes before that."""
    with open(source, "rb") as file:
        is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    if is_gzip:
        decompress(source, place, max_bytes=max_bytes)
        return
    try:
        with placing(place) as target:
            for _ in place_pictures(source, target, values=[], max_bytes=max_bytes):
                pass
    except DamagedTableError:
        pass


def decompress(source: Path, place: Path, *, max_bytes: int) -> str | None:
    """Write what a gzip file holds, up to a limit or the damage if there is any, which is told."""
    damage = None
    num_left = max_bytes
    with (
        atomic_file(place) as temporary,
        open(temporary, "wb") as target,
        gzip.open(source) as file,
    ):
        while True:
            try:
                chunk = file.read1(_CHUNK_BYTES)  # what came before damage, too
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                damage = f"{type(error).__name__}: {error}"
                break
            if not chunk:
                break
            target.write(chunk[:num_left])
            num_left -= len(chunk)
            if num_left < 0:
                damage = _too_large(max_bytes)
                break
    return damage


def _too_large(max_bytes: int) -> str:
    return f"its plain form takes more than {max_bytes} bytes of disk (pool.limits.max_plain_bytes)"


@contextmanager
def placing(place: Path) -> Iterator[BinaryIO]:
    """Give a file to place pictures in; those before a `DamagedTableError` stay, and it goes on."""
    damage = None
    with atomic_file(place) as temporary, open(temporary, "wb") as target:
        try:
            yield target
        except DamagedTableError as error:
            damage = error
        target.write(bytes(2 * tarfile.BLOCKSIZE))
    if damage is not None:
        raise damage


def place_pictures(
    source: Path, target: BinaryIO, *, values: list[str], max_bytes: int
) -> Iterator[PlacedRow]:
    """Write each picture of a Parquet or Arrow file as a member of a tar, and give the rows.

    What is written does not depend on `values`.

    Args:
        source: The file.
        target: From `placing`.
        values: Columns to read beside the pictures.
        max_bytes: Of the tar, but for its last two blocks.

    Raises:
        DamagedTableError: Where the file is damaged, or its pictures take more than `max_bytes`;
            the rows before that have been given.
    """
    for row in read_picture_rows(source, values=values):
        pictures = [picture for column in row.pictures.values() for picture in column]
        num_bytes = sum(tarfile.BLOCKSIZE * (1 + -(-len(p) // tarfile.BLOCKSIZE)) for p in pictures)
        if target.tell() + num_bytes > max_bytes:
            raise DamagedTableError(_too_large(max_bytes))
        offsets: dict[str, list[int]] = {}
        for number, (column, pictures) in enumerate(row.pictures.items()):
            offsets[column] = [
                _write_member(target, f"{row.number:09d}.{number}.{place}", picture)
                for place, picture in enumerate(pictures)
            ]
        yield PlacedRow(row=row, offsets=offsets)


def _write_member(target: BinaryIO, name: str, data: bytes) -> int:
    """Append a member to a tar; give the offset of its data."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    target.write(header.tobuf(tarfile.USTAR_FORMAT))
    offset = target.tell()
    target.write(data)
    target.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return offset


def _chunks_of(path: Path) -> Iterator[bytes]:
    yield _FORMAT.encode()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
