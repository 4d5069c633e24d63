"""What reading a file of pairs comes to: rows of the pool, a ledger, and how many were listed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.atomic import atomic_file
from vl_pipeline.data.ledger import Rejection, ledger_of
from vl_pipeline.data.pairs import PAIR_SCHEMA, UnusablePairError

_COUNTS = ("num_listed", "num_broken_json")


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What one shard, or many, hold: the pairs that can be read, and a ledger of the rest.

    Attributes:
        pairs: As `PAIR_SCHEMA` has them.
        ledger: Why the others cannot be used.
        num_listed: Both together.
        num_broken_json: Of the pairs, those whose .json could not be used beside a good .txt; what
            it says of them, such as their URL, is not known.
    """

    pairs: pa.Table
    ledger: pa.Table
    num_listed: int
    num_broken_json: int


def join_indexes(parts: Iterable[ShardIndex]) -> ShardIndex:
    """Put indexes one behind the other."""
    parts = list(parts)
    return ShardIndex(
        pairs=pa.concat_tables([PAIR_SCHEMA.empty_table(), *(part.pairs for part in parts)]),
        ledger=pa.concat_tables([ledger_of("ingest", []), *(part.ledger for part in parts)]),
        num_listed=sum(part.num_listed for part in parts),
        num_broken_json=sum(part.num_broken_json for part in parts),
    )


def index_of(
    pairs: list[dict[str, object]], rejections: list[Rejection], *, num_listed: int
) -> ShardIndex:
    """Build an index from what `read_pair` gave and rejections, in their order."""
    written = [
        replace(one, shard=escaped(one.shard), key=escaped(one.key), value=escaped(one.value))
        for one in rejections
    ]
    return ShardIndex(
        pairs=pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA),
        ledger=ledger_of("ingest", written),
        num_listed=num_listed,
        num_broken_json=sum(bool(pair["is_json_broken"]) for pair in pairs),
    )


def escaped(text: str) -> str:
    """Give a text that UTF-8 can hold: a file's name, or what JSON says, may be none."""
    return text.encode(errors="backslashreplace").decode()


def rejection_of(found: UnusablePairError, *, shard: str, key: str) -> Rejection:
    """Charge a pair with what was found of it."""
    return Rejection(shard=shard, key=key, rule=found.rule, value=found.value, limit=found.limit)


def write_index(path: Path, index: ShardIndex) -> None:
    """Write an index as one file, whole or not at all."""
    counts = {name: str(getattr(index, name)) for name in _COUNTS}
    counted = index.pairs.replace_schema_metadata(counts)
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
        **{name: int(pairs.schema.metadata[name.encode()]) for name in _COUNTS},
    )
