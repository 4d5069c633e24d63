"""Pairs that somebody does not want, whatever they are: by uid, by image, or by URL."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from vl_pipeline.errors import ParameterError
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.pictures import Pictures

_COLUMNS = ("uid", "image_hash", "url")


def blocked(pictures: Pictures, *, block_list: Path) -> Finding:
    """Find pairs whose uid, image hash or URL is listed.

    Raises:
        ParameterError: If the list cannot be read, or lists nothing.
    """
    entries, pairs = read_block_list(block_list), pictures.pairs
    entry = pa.nulls(pairs.num_rows, pa.string())
    for column in _COLUMNS:
        values = pairs[column].combine_chunks()
        listed = pc.is_in(values, value_set=entries)
        entry = pc.coalesce(entry, pc.if_else(listed, values, None))
    rows = np.flatnonzero(pc.is_valid(entry).to_numpy(zero_copy_only=False))
    return Finding(
        rule="blocked",
        rows=rows,
        matched_to=entry.take(rows).to_pylist(),
        distance=np.zeros(len(rows)),
        unit=None,
        limit=f"not in {block_list.name}",
    )


def read_block_list(path: Path) -> pa.Array:
    """Read a list's entries: a line each of a .txt, or all columns of a .csv or .parquet.

    Raises:
        ParameterError: If the file is missing, of another kind, without a known column, or empty.
    """
    try:
        columns = _read_columns(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _refused(path, f"cannot be read ({error})") from error
    entries = pc.drop_null(pa.chunked_array(columns, pa.string()).combine_chunks())
    entries = pc.unique(pc.utf8_trim_whitespace(entries))
    entries = entries.filter(pc.not_equal(entries, ""))
    if not len(entries):
        raise _refused(path, "lists nothing")
    return entries


def _read_columns(path: Path) -> list[pa.Array]:
    if path.suffix == ".txt":
        return [pa.array(path.read_text(encoding="utf-8").splitlines(), pa.string())]
    if path.suffix == ".csv":
        as_text = pa.csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
        table = pa.csv.read_csv(path, convert_options=as_text)
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        raise _refused(path, f"is of kind '{path.suffix}'")
    known = [name for name in _COLUMNS if name in table.column_names]
    if not known:
        raise _refused(path, f"has columns {table.column_names}")
    return [chunk for name in known for chunk in table[name].cast(pa.string()).chunks]


def _refused(path: Path, what: str) -> ParameterError:
    return ParameterError(
        f"screening.block_list is '{path}', which {what}; a .csv or .parquet with a column uid, "
        f"image_hash or url is accepted, or a .txt with one of them a line; null blocks nothing "
        f"(conf/base/parameters_screening.yml)"
    )
