"""More (key, row) records than memory holds, in files by key: all of one key in one file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt64

_PARTITIONS = 64
_RECORD = np.dtype([("key", np.uint64), ("row", np.int64)])


class Spill:
    """Takes records, in any order, and gives them back by key."""

    def __init__(self, folder: Path, *, max_in_memory: int) -> None:
        """Take an empty folder, and how many records may be in memory at once."""
        self._folder = folder
        self._max_in_memory = max_in_memory
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, keys: UInt64[np.ndarray, " n"], rows: Int64[np.ndarray, " n"]) -> None:
        """Add records; keys are hashes, spread evenly over 64 bits."""
        for start in range(0, len(keys), self._max_in_memory):
            part = slice(start, start + self._max_in_memory)
            records = np.empty(len(keys[part]), dtype=_RECORD)
            records["key"], records["row"] = keys[part], rows[part]
            if self._num_waiting + len(records) > self._max_in_memory:
                self._write()
            self._waiting.append(records)
            self._num_waiting += len(records)

    def partitions(self) -> Iterator["Partition"]:
        """Give what was added, in parts that share no key."""
        self._write()
        for file in sorted(self._folder.iterdir()):
            yield Partition(file, self._max_in_memory)

    def _write(self) -> None:
        if not self._waiting:
            return
        records = np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        part_of = (records["key"] % np.uint64(_PARTITIONS)).astype(np.uint8)
        order = np.argsort(part_of, kind="stable")
        ends = np.cumsum(np.bincount(part_of, minlength=_PARTITIONS))
        for number, part in enumerate(np.split(records[order], ends[:-1])):
            if len(part):
                with (self._folder / f"{number:04d}").open("ab") as file:
                    part.tofile(file)


@dataclass(frozen=True)
class Partition:
    """Every record of some of the keys."""

    file: Path
    max_in_memory: int

    def read(self) -> Iterator[tuple[UInt64[np.ndarray, " n"], Int64[np.ndarray, " n"]]]:
        """Give its keys and rows, a part at a time."""
        with self.file.open("rb") as file:
            while len(part := np.fromfile(file, dtype=_RECORD, count=self.max_in_memory)):
                yield part["key"], part["row"]

    def count(self) -> tuple[UInt64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Count its records by key: the different keys, ascending, and how often each occurs."""
        keys, counts = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        for more, _ in self.read():
            new, times = np.unique(more, return_counts=True)
            keys, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
            counts = np.bincount(
                place, weights=np.concatenate([counts, times]), minlength=len(keys)
            ).astype(np.int64)
        return keys, counts
