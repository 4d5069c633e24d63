"""Keep pairs that break no rule, where a rule is a range of one column of the pool.

Columns are those of the pool, what is measured from them (`data/measures.py`), and, behind the
stage `count`, what was counted over the raw pool. A pair that breaks several rules is dropped by
the first of them.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import DROPPED, Candidates, Selection, unscored
from vl_pipeline.data.measures import with_measures
from vl_pipeline.data.pair_expectations import ValuesBetween
from vl_pipeline.errors import CurationError

_REASONS = (DROPPED, "rules")


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ColumnRules:
    """Keeps a pair if each rule's column lies in the rule's range; a null breaks no rule.

    Attributes:
        rules: By name, in the order in which they are asked. A value on a bound is inside, unless
            `strict_min` or `strict_max` says that it is not. None switches a rule off.
    """

    rules: dict[str, ValuesBetween | None]

    block_size = None
    needs_counts = True
    needs_caption_features = False

    def calibrate(self, sample: Candidates) -> "ColumnRules":
        """Nothing depends on a sample: counts are of the whole raw pool."""
        return self

    def select(self, candidates: Candidates) -> Selection:
        """Ask the rules in order.

        Raises:
            CurationError: If the pool does not have a rule's column, or no numbers in it.
        """
        rules = {name: rule for name, rule in self.rules.items() if rule is not None}
        columns = [rule.column for rule in rules.values()]
        pairs = with_measures(candidates.pool.take(candidates.rows), columns)
        reason = np.ones(len(candidates), dtype=np.int8)
        value = np.full(len(candidates), np.nan)
        for number, (name, rule) in enumerate(rules.items(), start=len(_REASONS)):
            found = _numbers(name, rule, pairs)
            charged = (reason == 1) & rule.outside(found)
            reason[charged] = number
            value[charged] = pc.cast(found, pa.float64()).to_numpy()[charged]
        return dataclasses.replace(
            unscored(candidates.rows, reason == 1, reason=_REASONS[1]),
            reason=reason,
            reasons=(*_REASONS, *rules),
            rules={name: rule.limit for name, rule in rules.items()},
            value=value,
        )


def _numbers(name: str, rule: ValuesBetween, pairs: pa.Table) -> pa.ChunkedArray:
    if rule.column not in pairs.column_names:
        raise CurationError(
            f"rule '{name}' is about the column '{rule.column}', which the pool does not have; it "
            f"has {', '.join(pairs.column_names)}; count.columns appends those of a table "
            f"(conf/base/parameters_count.yml)"
        )
    found = pairs[rule.column]
    if not (pa.types.is_integer(found.type) or pa.types.is_floating(found.type)):
        raise CurationError(
            f"rule '{name}' is about the column '{rule.column}' of type {found.type}; a range is "
            f"of numbers"
        )
    return found
