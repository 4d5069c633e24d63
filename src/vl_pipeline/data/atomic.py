"""Files and folders that are whole or absent: written beside their place, then renamed into it."""

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


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to `path` when the block ends well.

    The move is a rename within one folder after an fsync, so a reader sees the old file or the
    new one. When the block raises, the temporary file is removed and `path` is left as it was.
    """
    _clear_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
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
    killed in that instant, the next writer moves the old one back.
    """
    _clear_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    temporary.mkdir()
    try:
        yield temporary
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
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a stable key order, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` as Parquet, whole or not at all; equal tables give equal bytes."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


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
