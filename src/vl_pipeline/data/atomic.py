"""Files and folders that are whole or absent: written beside their place, then renamed into it."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from vl_pipeline.errors import DiskFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM_WORDS = re.compile("No space left|os error 28|requested and \\d+ written")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to `path` when the block ends well.

    The move is a rename within one folder after an fsync, so a reader sees the old file or the
    new one. When the block raises, the temporary file is removed and `path` is left as it was.

    Raises:
        DiskFullError: If there is no room.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _room_for(path):
        _clear_leftovers(path)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder, and put it in the place of `path` when the block ends well.

    A folder cannot replace a filled one in one rename, so the old one is moved aside first; a
    reader can find no folder for an instant, never a half-written one. Should the process be
    killed in that instant, the next writer moves the old one back. A link to a folder stays, and
    what it points to is replaced.

    Raises:
        DiskFullError: If there is no room.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _room_for(path):
        _clear_leftovers(path)
        try:
            temporary.mkdir()
            yield temporary
            _put_in_place(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a stable key order, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` as Parquet, whole or not at all; equal tables give equal bytes."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _put_in_place(temporary: Path, path: Path) -> None:
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
        _flush_to_disk(file)
    if path.exists():
        os.replace(path, retired)
    try:
        os.replace(temporary, path)
    except OSError:
        if retired.exists():
            os.replace(retired, path)
        raise
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    """Say of a full disk where it is full, once what was half-written there is removed."""
    try:
        yield
    except Exception as error:
        if not is_for_lack_of_room(error) or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(
            f"{path}: no room to write it ({error}); {_free_bytes(path) / 1e6:.1f} MB are free on "
            f"that disk or quota now that the half-written one is removed; make room there, then "
            f"start the same command again: what was finished before is kept"
        ) from error


def is_for_lack_of_room(error: BaseException) -> bool:
    """Tell a full disk or quota from other errors; numpy and safetensors say it in words alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    return _NO_ROOM_WORDS.search(str(error)) is not None


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    return shutil.disk_usage(existing).free


def _clear_leftovers(path: Path) -> None:
    """Undo what killed writers of `path` left beside it; make the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.(part|old)")
    for leftover in sorted(path.parent.iterdir()):
        match = pattern.fullmatch(leftover.name)
        if match is None or _is_another_process(int(match[1])):
            continue
        if match[2] == "old" and not path.exists():
            os.replace(leftover, path)
        elif leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _is_another_process(number: int) -> bool:
    return number != os.getpid() and psutil.pid_exists(number)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
