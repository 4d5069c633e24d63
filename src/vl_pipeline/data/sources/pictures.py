"""Parquet and Arrow files with picture bytes inside, read batch by batch.

A picture column holds bytes, or structs with a field `bytes` (Hugging Face's image type), or lists
of either (Data-Juicer's). Which columns these are is read off the schema alone.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PARQUET_MAGIC = b"PAR1"
_ARROW_MAGICS = (b"ARROW1", b"\xff\xff\xff\xff")  # of a file, of a stream
_BATCH_ROWS = 64
_END_BYTES = 8  # of a Parquet file: the length of its description, and the magic
_MAX_DESCRIPTION_BYTES = 2**26


class DamagedTableError(Exception):
    """Why a table cannot be read, or not to its end; becomes a row of the ledger."""


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """A row: its number in the file, its pictures by column, and the other values asked for.

    Texts are bytes: whether they are UTF-8 is a question for the pair.
    """

    number: int
    pictures: dict[str, list[bytes]]
    values: dict[str, Any]


def holds_table(head: bytes) -> bool:
    """Say whether a file that begins like this is Parquet or Arrow."""
    return head.startswith((PARQUET_MAGIC, *_ARROW_MAGICS))


def picture_columns(schema: pa.Schema) -> list[str]:
    """Name the columns that can hold pictures, in the schema's order."""
    return [field.name for field in schema if _holds_bytes(field.type)]


def read_schema(path: Path) -> pa.Schema:
    """Read the schema of a Parquet or Arrow file.

    Raises:
        DamagedTableError: If it cannot be read.
    """
    with damage_named(), _reader(path) as reader:
        return reader.schema_arrow if isinstance(reader, pq.ParquetFile) else reader.schema


def read_schema_at_end(read_end: Callable[[int], bytes]) -> pa.Schema:
    """Read the schema of a Parquet file from its end, where it stands.

    Args:
        read_end: Gives as many of the file's last bytes as are asked for.

    Raises:
        DamagedTableError: If it cannot be read, or its description takes more than 64 MiB.
    """
    end = read_end(_END_BYTES)
    num_bytes = int.from_bytes(end[:4], "little")
    if end[4:] != PARQUET_MAGIC or num_bytes > _MAX_DESCRIPTION_BYTES:
        raise DamagedTableError("no end of a Parquet file")
    description = read_end(num_bytes + _END_BYTES)
    with damage_named():
        return pq.read_schema(pa.BufferReader(PARQUET_MAGIC + description))


def read_picture_rows(path: Path, *, values: list[str]) -> Iterator[PictureRow]:
    """Read the pictures of a Parquet or Arrow file row by row, and other columns beside them.

    Rows come in the file's order. A missing picture is an empty list.

    Args:
        path: The file.
        values: Columns to read beside the pictures.

    Raises:
        DamagedTableError: Where the file is damaged; the rows before that have been given.
    """
    number = 0
    for batch in _batches(path, values):
        with damage_named():
            columns = {name: batch[name].to_pylist() for name in picture_columns(batch.schema)}
            texts = {name: _with_bytes(batch[name]).to_pylist() for name in values}
        for row in range(batch.num_rows):
            yield PictureRow(
                number=number + row,
                pictures={name: _pictures_in(column[row]) for name, column in columns.items()},
                values={name: column[row] for name, column in texts.items()},
            )
        number += batch.num_rows


def _batches(path: Path, values: list[str]) -> Iterator[pa.RecordBatch]:
    with damage_named(), _reader(path) as reader:
        is_parquet = isinstance(reader, pq.ParquetFile)
        schema = reader.schema_arrow if is_parquet else reader.schema
        columns = list(dict.fromkeys([*picture_columns(schema), *values]))
        if is_parquet:
            for group in range(reader.num_row_groups):  # one that is damaged costs itself alone
                yield from reader.iter_batches(
                    _BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
                )
            return
        stored = (
            reader
            if isinstance(reader, pa.RecordBatchStreamReader)
            else (reader.get_batch(n) for n in range(reader.num_record_batches))
        )
        for batch in stored:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS).select(columns)


@contextmanager
def _reader(path: Path) -> Iterator[Any]:
    with open(path, "rb") as file:
        head = file.read(len(_ARROW_MAGICS[0]))
    if head.startswith(PARQUET_MAGIC):
        with pq.ParquetFile(path, pre_buffer=False) as reader:
            yield reader
        return
    open_arrow = pa.ipc.open_file if head == _ARROW_MAGICS[0] else pa.ipc.open_stream
    with pa.memory_map(str(path)) as source, open_arrow(source) as reader:
        yield reader


@contextmanager
def damage_named() -> Iterator[None]:
    """Call whatever is raised of a table that cannot be read damage.

    A column that comes twice is a KeyError, a date that Python has no value for an OverflowError
    or a ValueError.
    """
    try:
        yield
    except (
        pa.ArrowException, OSError, csv.Error, EOFError, KeyError, ValueError, OverflowError
    ) as error:  # fmt: skip
        raise DamagedTableError(f"{type(error).__name__}: {error}") from error


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _with_bytes(column: pa.Array) -> pa.Array:
    """Texts as the bytes they are stored as: pyarrow does not look whether they are UTF-8."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _with_bytes(column.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return column.cast(pa.list_(pa.large_binary()))
    return column


def _pictures_in(value: Any) -> list[bytes]:
    if value is None:
        return []
    if isinstance(value, list):
        return [picture for one in value for picture in _pictures_in(one)]
    return _pictures_in(value["bytes"]) if isinstance(value, dict) else [value]
