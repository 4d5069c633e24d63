"""What one rule of screening found, and its rows of the ledger."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from vl_pipeline.data.ledger import LEDGER_SCHEMA
from vl_pipeline.data.pool import Rows


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Pairs that one rule turns away.

    Attributes:
        rule: As in the ledger.
        rows: Ascending rows of the table that was looked at.
        matched_to: What each pair resembles: a pair's uid, `task/split/number`, or an entry.
        distance: How far from it, by the rule's own measure; 0 is equal.
        unit: What `distance` is in; None where it says nothing.
        limit: What is accepted.
    """

    rule: str
    rows: Rows
    matched_to: list[str]
    distance: Float64[np.ndarray, " n"]
    unit: str | None
    limit: str


def charge(pairs: pa.Table, finding: Finding) -> tuple[pa.Table, pa.Table]:
    """Split pairs into those that stay and the ledger of the finding's."""
    stays = np.ones(pairs.num_rows, dtype=bool)
    stays[finding.rows] = False
    rejected = pairs.select(["shard", "key", "uid"]).take(finding.rows)
    constant = {"stage": "screen", "rule": finding.rule, "limit": finding.limit}
    columns = {name: rejected[name] for name in rejected.column_names}
    columns |= {name: pa.repeat(value, rejected.num_rows) for name, value in constant.items()}
    columns["value"] = pa.array(_values(finding), pa.string())
    ledger = pa.table(columns).select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)
    return pairs.filter(pa.array(stays)), ledger


def _values(finding: Finding) -> list[str]:
    if finding.unit is None:
        return finding.matched_to
    return [
        f"{distance:.4g} {finding.unit} from {match}"
        for distance, match in zip(finding.distance, finding.matched_to, strict=True)
    ]
