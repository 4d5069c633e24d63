"""What reading a file of pairs comes to: rows of the pool, a ledger, and how many were listed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.atomic import atomic_file
from vl_pipeline.data.ledger import Rejection, ledger_of
from vl_pipeline.data.pairs import PAIR_SCHEMA, UnusablePairError


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What one shard, or many, hold: the pairs that can be read, and a ledger of the rest."""

    pairs: pa.Table
    ledger: pa.Table
    num_listed: int


def join_indexes(parts: Iterable[ShardIndex]) -> ShardIndex:
    """Put indexes one behind the other."""
    parts = list(parts)
    return ShardIndex(
        pairs=pa.concat_tables([PAIR_SCHEMA.empty_table(), *(part.pairs for part in parts)]),
        ledger=pa.concat_tables([ledger_of("ingest", []), *(part.ledger for part in parts)]),
        num_listed=sum(part.num_listed for part in parts),
    )


def index_of(
    pairs: list[dict[str, object]], rejections: list[Rejection], *, num_listed: int
) -> ShardIndex:
    """Build an index from rows of the pool and rejections, in their order."""
    written = [
        replace(one, shard=escaped(one.shard), key=escaped(one.key), value=escaped(one.value))
        for one in rejections
    ]
    return ShardIndex(
        pairs=pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA),
        ledger=ledger_of("ingest", written),
        num_listed=num_listed,
    )


def escaped(text: str) -> str:
    """Give a text that UTF-8 can hold: a file's name, or what JSON says, may be none."""
    return text.encode(errors="backslashreplace").decode()


def rejection_of(found: UnusablePairError, *, shard: str, key: str) -> Rejection:
    """Charge a pair with what was found of it."""
    return Rejection(shard=shard, key=key, rule=found.rule, value=found.value, limit=found.limit)


def write_index(path: Path, index: ShardIndex) -> None:
    """Write an index as one file, whole or not at all."""
    counted = index.pairs.replace_schema_metadata({"num_listed": str(index.num_listed)})
    with atomic_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        for table in (counted, index.ledger):
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)


def read_index(path: Path) -> ShardIndex | None:
    """Read an index that `write_index` wrote; None if there is none that can be read."""
    try:
        with pa.OSFile(str(path), "rb") as source:
            pairs, ledger = (pa.ipc.open_stream(source).read_all() for _ in range(2))
    except (OSError, pa.ArrowException):
        return None
    return ShardIndex(
        pairs=pairs.replace_schema_metadata(None),
        ledger=ledger,
        num_listed=int(pairs.schema.metadata[b"num_listed"]),
    )
