"""Columns that somebody else knows of the pairs, from a table beside the pool."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vl_pipeline.errors import ParameterError

KEYS = ("uid", "image_hash", "url")


def with_columns_of(pool: pa.Table, file: Path) -> pa.Table:
    """Append the columns of a Parquet table, such as the scores of a detector of unsafe images.

    Rows are matched by the first of `KEYS` that the table has; of several rows of one key the first
    counts. Where it has no row for a pair, the pair has nulls.

    Raises:
        ParameterError: If the file cannot be read, has none of the keys, or has a column that the
            pool has already.
    """
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise ParameterError(
            f"count.columns is {file}, which cannot be read as Parquet ({error}); correct it, or "
            f"set it to null"
        ) from error
    key = next((name for name in KEYS if name in table.column_names), None)
    names = [name for name in table.column_names if name not in KEYS]
    taken = [name for name in names if name in pool.column_names]
    if key is None or taken or not names:
        raise ParameterError(
            f"count.columns is {file} with the columns {', '.join(table.column_names)}; it needs "
            f"one of {', '.join(KEYS)}, and others that the pool does not have, "
            f"which has {', '.join(pool.column_names)}"
        )
    known = pc.cast(table[key], pool[key].type).combine_chunks()
    places = pc.index_in(pool[key], value_set=known, skip_nulls=True)
    for name in names:
        pool = pool.append_column(name, table[name].take(places))
    return pool
