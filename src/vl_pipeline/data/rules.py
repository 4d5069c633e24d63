"""Rules that a pair must pass to be a candidate: about the pair alone, never about a task.

A rule looks at columns of the pool and says which pairs break it, what it found and what it
accepts. Rules run in the order of `PairRules`; a pair is charged to the first one it breaks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.ledger import LEDGER_SCHEMA


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PairRules:
    """Limits that a pair must keep; a pair on a limit is kept.

    Attributes:
        min_caption_characters: Fewest characters of a caption.
        max_caption_characters: Most characters of a caption.
        min_side_px: Shortest allowed shorter side.
        max_aspect: Longest allowed longer side over shorter side.
    """

    min_caption_characters: Annotated[int, Ge(1)]
    max_caption_characters: Annotated[int, Ge(1)]
    min_side_px: Annotated[int, Ge(1)]
    max_aspect: Annotated[float, Ge(1.0)]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule found: each pair's value, and whether that breaks the rule."""

    rule: str
    breaks: pa.BooleanArray
    value: pa.Array
    limit: str


def apply_pair_rules(pairs: pa.Table, rules: PairRules) -> tuple[pa.Table, pa.Table]:
    """Split pairs into those that keep every rule and a ledger of those that do not.

    Returns:
        The kept pairs in their order, and the ledger in the order of the pool.
    """
    findings = [check(pairs, rules) for check in _CHECKS]
    first_broken = np.full(pairs.num_rows, -1)
    for number, finding in reversed(list(enumerate(findings))):
        first_broken[finding.breaks.to_numpy(zero_copy_only=False)] = number
    kept = pairs.filter(pa.array(first_broken < 0))
    parts = [_charge(pairs, first_broken == n, finding) for n, finding in enumerate(findings)]
    ledger = pa.concat_tables([LEDGER_SCHEMA.empty_table(), *parts])
    rows = np.concatenate([np.flatnonzero(first_broken == n) for n in range(len(findings))])
    return kept, ledger.take(np.argsort(rows))


def _charge(pairs: pa.Table, charged: np.ndarray, finding: Finding) -> pa.Table:
    mask = pa.array(charged)
    rejected = pairs.filter(mask)
    constant = {"stage": "screen", "rule": finding.rule, "limit": finding.limit}
    columns = {name: rejected[name] for name in ("shard", "key", "uid")}
    columns |= {name: pa.repeat(value, rejected.num_rows) for name, value in constant.items()}
    columns["value"] = pc.cast(finding.value.filter(mask), pa.string())
    return pa.table(columns).select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)


def _caption_too_short(pairs: pa.Table, rules: PairRules) -> Finding:
    length = pc.utf8_length(pairs["caption"]).combine_chunks()
    limit = rules.min_caption_characters
    return Finding(
        rule="caption_too_short",
        breaks=pc.less(length, limit),
        value=length,
        limit=f">= {limit} characters",
    )


def _caption_too_long(pairs: pa.Table, rules: PairRules) -> Finding:
    length = pc.utf8_length(pairs["caption"]).combine_chunks()
    limit = rules.max_caption_characters
    return Finding(
        rule="caption_too_long",
        breaks=pc.greater(length, limit),
        value=length,
        limit=f"<= {limit} characters",
    )


def _image_too_small(pairs: pa.Table, rules: PairRules) -> Finding:
    side = pc.min_element_wise(pairs["width"], pairs["height"]).combine_chunks()
    return Finding(
        rule="image_too_small",
        breaks=pc.less(side, rules.min_side_px),
        value=side,
        limit=f">= {rules.min_side_px} px",
    )


def _image_too_narrow(pairs: pa.Table, rules: PairRules) -> Finding:
    shorter = pc.min_element_wise(pairs["width"], pairs["height"])
    longer = pc.max_element_wise(pairs["width"], pairs["height"])
    aspect = pc.divide(pc.cast(longer, pa.float64()), shorter).combine_chunks()
    return Finding(
        rule="image_too_narrow",
        breaks=pc.greater(aspect, rules.max_aspect),
        value=pc.round(aspect, ndigits=3),
        limit=f"<= {rules.max_aspect} to 1",
    )


def _repeated_pair(pairs: pa.Table, rules: PairRules) -> Finding:
    """The same image with the same caption again; the first one stays."""
    uids = pairs["uid"].combine_chunks()
    first = pc.index_in(uids, value_set=pc.unique(uids))
    number_of_first = np.unique(first.to_numpy(), return_index=True)[1]
    breaks = np.ones(len(uids), dtype=bool)
    breaks[number_of_first] = False
    return Finding(rule="repeated_pair", breaks=pa.array(breaks), value=uids, limit="once")


_CHECKS: tuple[Callable[[pa.Table, PairRules], Finding], ...] = (
    _caption_too_short,
    _caption_too_long,
    _image_too_small,
    _image_too_narrow,
    _repeated_pair,
)
