"""Columns that somebody else knows of the pairs, from a table beside the pool."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vl_pipeline.errors import ParameterError

logger = logging.getLogger(__name__)

KEYS = ("uid", "image_hash", "url")


def with_columns_of(pool: pa.Table, file: Path) -> pa.Table:
    """Append the columns of a Parquet table, such as the scores of a detector of unsafe images.

    Rows are matched by the first of `KEYS` that the table has, digests in either case; of several
    rows of one key the first counts. Where it has no row for a pair, the pair has nulls.

    Raises:
        ParameterError: If the file cannot be read, has none of the keys, has a column that the
            pool has already, or knows none of the pool's pairs.
    """
    try:
        table = pq.read_table(file)
        key = next((name for name in KEYS if name in table.column_names), None)
        known = _spelt_as_in_pool(table, key) if key else None
    except (OSError, pa.ArrowException) as error:
        raise ParameterError(
            f"count.columns is {file}, which cannot be read as Parquet with texts in the first of "
            f"{', '.join(KEYS)} ({error}); correct it, or set it to null"
        ) from error
    names = [name for name in table.column_names if name not in KEYS]
    taken = [name for name in names if name in pool.column_names]
    if key is None or taken or not names:
        raise ParameterError(
            f"count.columns is {file} with the columns {', '.join(table.column_names)}; it needs "
            f"one of {', '.join(KEYS)}, and others that the pool does not have, "
            f"which has {', '.join(pool.column_names)}"
        )
    places = pc.index_in(pool[key], value_set=known, skip_nulls=True)
    num_matched = pool.num_rows - places.null_count
    if pool.num_rows and not num_matched:  # a null breaks no rule: every pair would pass
        raise ParameterError(
            f"count.columns is {file}, which knows none of the pool's {pool.num_rows} pairs: its "
            f"column '{key}' begins with {table[key][:1].to_pylist()}, the pool's with "
            f"{pool[key][:1].to_pylist()}; make it for this pool, or set it to null"
        )
    logger.info("%s: knows %d of %d pairs, by %s", file, num_matched, pool.num_rows, key)
    for name in names:
        pool = pool.append_column(name, table[name].take(places))
    return pool


def _spelt_as_in_pool(table: pa.Table, key: str) -> pa.Array:
    values = table[key].cast(pa.string()).combine_chunks()
    return values if key == "url" else pc.utf8_lower(values)
