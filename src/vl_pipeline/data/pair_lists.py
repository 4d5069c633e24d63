"""Lists of pairs that people write down: by uid, by the image's hash, or by URL.

*.csv, *.parquet   any of the columns `uid`, `image_hash` and `url`; others are left alone
*.txt              one a line: a URL, or 32 hexadecimal digits, taken for uid and image hash
alike; lines that are empty or start with # are left out
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from vl_pipeline.errors import ParameterError

COLUMNS = ("uid", "image_hash", "url")

_DIGEST = re.compile("[0-9a-f]{32}")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)

Entry = tuple[str, str, str]
"""Where it stands, a column, a value."""


@dataclass(frozen=True, kw_only=True)
class PairList:
    """Pairs that somebody listed; a pair is meant if any of the three names it.

    Attributes:
        uids: Of pairs.
        image_hashes: Of images, with whichever caption.
        urls: Of images, letter for letter as in the pool.
    """

    uids: frozenset[str]
    image_hashes: frozenset[str]
    urls: frozenset[str]

    def entry_of(self, pairs: pa.Table) -> pa.ChunkedArray:
        """Give the entry that lists each row of a table with the columns `COLUMNS`, or null."""
        entries: list[pa.ChunkedArray] = []
        for column, values in zip(COLUMNS, (self.uids, self.image_hashes, self.urls), strict=True):
            value_set = pa.array(sorted(values), pa.string())
            is_listed = pc.is_in(pairs[column], value_set=value_set)
            entries.append(pc.if_else(is_listed, pairs[column], None))
        return pc.coalesce(*entries)

    def holds(self, pairs: pa.Table) -> Bool[np.ndarray, " n"]:
        """Say of each row of a table with the columns `COLUMNS` whether it is listed."""
        return pc.is_valid(self.entry_of(pairs)).to_numpy()


def read_pair_list(path: Path) -> PairList:
    """Read a list of pairs; every entry is understood, or the list is refused.

    Raises:
        ParameterError: If the file cannot be read, lists nothing, or has an entry that is neither
            a digest nor a URL where one is expected.
    """
    try:
        reader = {".csv": _csv_entries, ".parquet": _parquet_entries, ".txt": _text_entries}[
            path.suffix.lower()
        ]
    except KeyError:
        raise ParameterError(
            f"{path}: a list of pairs is a .csv, .parquet or .txt file; save it as one of these"
        ) from None
    found: dict[str, set[str]] = {column: set() for column in COLUMNS}
    try:
        for place, column, value in reader(path):
            found[column].add(_checked(path, place, column, value))
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ParameterError(
            f"{path}: cannot be read ({error}); name a whole {path.suffix} file in UTF-8"
        ) from error
    if not any(found.values()):
        raise ParameterError(f"{path}: lists no pair; give at least one uid, image hash or URL")
    return PairList(
        uids=frozenset(found["uid"]),
        image_hashes=frozenset(found["image_hash"]),
        urls=frozenset(found["url"]),
    )


def _text_entries(path: Path) -> Iterator[Entry]:
    with open(path, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            value = line.strip()
            if not value or value.startswith("#"):
                continue
            if _URL.fullmatch(value):
                yield f"line {number}", "url", value
            else:
                yield f"line {number}", "uid", value
                yield f"line {number}", "image_hash", value


def _csv_entries(path: Path) -> Iterator[Entry]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = _known(path, rows.fieldnames or [])
        for row in rows:
            for column in columns:
                if row[column] and row[column].strip():
                    yield f"line {rows.line_num}", column, row[column].strip()


def _parquet_entries(path: Path) -> Iterator[Entry]:
    columns = _known(path, pq.read_schema(path).names)
    table = pq.read_table(path, columns=columns)
    for column in columns:
        for number, value in enumerate(table[column].to_pylist(), start=1):
            if value is not None:
                yield f"row {number}", column, value if isinstance(value, str) else repr(value)


def _known(path: Path, names: Iterable[str]) -> list[str]:
    columns = [column for column in COLUMNS if column in names]
    if not columns:
        raise ParameterError(
            f"{path}: has the columns {sorted(names)}; one of {', '.join(COLUMNS)} is needed"
        )
    return columns


def _checked(path: Path, place: str, column: str, value: str) -> str:
    if column == "url":
        if _URL.fullmatch(value):
            return value
        accepted = "a URL such as https://example.com/image.jpg"
    else:
        if _DIGEST.fullmatch(value.lower()):
            return value.lower()
        accepted = "32 hexadecimal digits" + (" or a URL" if path.suffix.lower() == ".txt" else "")
    raise ParameterError(
        f"{path}: {place}: {value[:80]!r} is no {column}; accepted is {accepted}; correct or "
        f"remove it, so that nothing listed is passed over"
    )
