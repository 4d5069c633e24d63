"""The ledger: every pair that was turned away, where, by which rule, and by how much.

A pair is never silently lost. Each stage that can turn pairs away returns a ledger beside what
it kept, and `require_balance` holds the stage to in = kept + rejected.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.errors import PoolError

LEDGER_SCHEMA = pa.schema(
    [
        ("stage", pa.string()),  # the stage that rejected the pair
        ("shard", pa.string()),
        ("key", pa.string()),  # of the pair within its shard; empty for the shard itself
        ("uid", pa.string()),  # null where the pair was never whole enough to have one
        ("rule", pa.string()),
        ("value", pa.string()),  # what was found
        ("limit", pa.string()),  # what is accepted
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """One pair that was turned away, and why."""

    shard: str
    key: str
    rule: str
    value: str
    limit: str
    uid: str | None = None


def ledger_of(stage: str, rejections: list[Rejection]) -> pa.Table:
    """Build a ledger table from rejections, in their order."""
    columns = {
        "stage": [stage] * len(rejections),
        **{
            name: [getattr(rejection, name) for rejection in rejections]
            for name in LEDGER_SCHEMA.names[1:]
        },
    }
    return pa.table(columns, schema=LEDGER_SCHEMA)


def count_by_rule(ledger: pa.Table) -> dict[str, int]:
    """Count rejections by rule, most frequent first, ties by name."""
    counts = pc.value_counts(ledger["rule"]).to_pylist()
    return {
        c["values"]: c["counts"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"]))
    }


def require_balance(stage: str, *, num_in: int, num_kept: int, ledger: pa.Table) -> None:
    """Fail the stage unless every pair that came in was either kept or entered in the ledger.

    Raises:
        PoolError: If num_in differs from num_kept plus the ledger's rows.
    """
    num_rejected = ledger.num_rows
    if num_in != num_kept + num_rejected:
        raise PoolError(
            f"{stage}: {num_in} pairs came in, but {num_kept} kept + {num_rejected} rejected = "
            f"{num_kept + num_rejected}; pairs were lost or counted twice, which is a defect of "
            f"this stage: nothing was written, please report it with the shard list"
        )
