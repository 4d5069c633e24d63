"""Tables that name picture files: CSV, TSV, JSON lines, and Parquet without pictures in it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vl_pipeline.data.ledger import Rejection
from vl_pipeline.data.pairs import UnusablePairError
from vl_pipeline.data.sources.columns import (
    Columns,
    NamedColumns,
    choose_columns,
    is_address,
    list_of_addresses,
)
from vl_pipeline.data.sources.folder import SourceFolder
from vl_pipeline.data.sources.index import escaped, rejection_of
from vl_pipeline.data.sources.loose import Bunch, LoosePair, captions_in, text_of
from vl_pipeline.data.sources.pictures import DamagedTableError, damage_named
from vl_pipeline.errors import ShardError

_DELIMITERS = ",;|\t"

Row = dict[str, Any] | None
"""Values by column; None for a line that cannot be read."""

FindPicture = Callable[[str, str], str | None]
"""Name of a picture's file, from the table's name and what its row says; None without one."""


def read_naming_table(
    folder: SourceFolder, name: str, named: NamedColumns, find: FindPicture
) -> Bunch:
    """Read which pictures a table names, with which captions.

    A pair is called after the table and its row, which counts from 0: `captions.csv#0`.

    Raises:
        ShardError: If a column is missing, or the table holds addresses alone and no names.
        DamagedTableError: If the table cannot be read.
    """
    with folder.local_copy(name) as path:
        columns, rows = _read(path, name, named, place=folder.address(name))
    pairs: list[LoosePair] = []
    rejections: list[Rejection] = []
    for number, row in enumerate(rows):
        key = f"{name}#{number}"
        try:
            picture = _picture_of(row, columns, name=name, find=find)
        except UnusablePairError as error:
            rejections.append(rejection_of(error, shard=name, key=key))
            continue
        url = row.get(columns.url) if columns.url and row else None
        caption = row.get(columns.caption) if row else None
        pairs += [
            LoosePair(picture=picture, key=one, text=text, url=text_of(url))
            for one, text in captions_in(caption, key=key)
        ]
    return Bunch(pairs=tuple(pairs), rejections=tuple(rejections))


def _said_in(row: dict[str, Any], columns: Columns) -> list[Any]:
    cell = row.get(columns.image)
    return [one for one in (cell if isinstance(cell, list) else [cell]) if one]


def _picture_of(row: Row, columns: Columns, *, name: str, find: FindPicture) -> str:
    if row is None:
        raise UnusablePairError("unreadable_json", value="", limit="a JSON object")
    said = _said_in(row, columns)
    if len(said) > 1:
        raise UnusablePairError("several_images", value=str(len(said)), limit="one image")
    picture = said[0] if said else None
    found = None
    if isinstance(picture, str) and escaped(picture) == picture and not is_address(picture):
        found = find(name, picture)
    if found is None:
        limit = "a file below pool.folder"
        raise UnusablePairError("missing_image", value=str(picture)[:300], limit=limit)
    return found


def _read(path: Path, name: str, named: NamedColumns, *, place: str) -> tuple[Columns, list[Row]]:
    """Choose a table's columns, and give its rows; of a Parquet file no other column is read."""
    suffix = name.rpartition(".")[2].lower()
    rows: list[Row] = []
    with damage_named():
        if suffix == "parquet":
            names = pq.read_schema(path).names
        else:
            text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
            names, rows = _read_json_lines(text) if suffix == "jsonl" else _read_csv(text, suffix)
        if not names:
            raise DamagedTableError("no columns")
        columns = choose_columns(names, names, named, place=place)
        if suffix == "parquet":
            chosen = dict.fromkeys(filter(None, (columns.image, columns.caption, columns.url)))
            rows = pq.read_table(path, columns=list(chosen)).to_pylist()
    said = [one for row in rows if row for one in _said_in(row, columns)]
    if said and all(map(is_address, said)):
        raise ShardError(list_of_addresses(place, columns.image))
    return columns, rows


def _read_json_lines(text: str) -> tuple[list[str], list[Row]]:
    rows: list[Row] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        rows.append(row if isinstance(row, dict) else None)
    return list(dict.fromkeys(name for row in rows if row for name in row)), rows


def _read_csv(text: str, suffix: str) -> tuple[list[str], list[Row]]:
    """Read comma-separated values with quotes, or tab-separated ones, which know none.

    Other separators than the comma are told by the header, where they come most often.
    """
    header = text.partition("\n")[0]
    if not header.isprintable() and not header.replace("\t", "").strip("\r").isprintable():
        raise DamagedTableError(f"begins with {header[:20]!r}, which is no header")
    if suffix == "tsv":
        lines = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        delimiter = max(_DELIMITERS, key=header.count)
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    return list(lines.fieldnames or []), list(lines)
