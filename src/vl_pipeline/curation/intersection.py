"""Keep what two rules both keep.

Rules see different things: one that compares captions cannot see a wrong image, and one that holds
images against captions does not know what the task is about.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import (
    DROPPED,
    Candidates,
    Curator,
    Selection,
    needs_counted_columns,
    needs_pair_scores,
)
from vl_pipeline.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class Intersection:
    """Keeps a pair if both rules do, each asked as if it were alone.

    A pair's score and nearest target are the first rule's, where it has them, else the second's.
    The reason of a kept pair names both, as `threshold_and_agreement`.
    """

    first: Curator
    second: Curator

    def __post_init__(self) -> None:
        sizes = {rule.block_size for rule in (self.first, self.second)} - {None}
        if len(sizes) > 1:
            raise ParameterError(
                f"first.block_size is {self.first.block_size} and second.block_size is "
                f"{self.second.block_size}; both rules judge the same blocks, set them alike"
            )

    @property
    def block_size(self) -> int | None:
        """That of the rule that needs one."""
        return self.first.block_size or self.second.block_size

    def calibrate(self, sample: Candidates) -> "Intersection":
        """Calibrate both on the same sample."""
        return Intersection(
            first=self.first.calibrate(sample), second=self.second.calibrate(sample)
        )

    def select(self, candidates: Candidates) -> Selection:
        """Ask both, and keep what both keep."""
        first, second = self.first.select(candidates), self.second.select(candidates)
        keep = first.keep & second.keep
        reasons = itertools.product(first.reasons[1:], second.reasons[1:])
        joint = (first.reason - 1) * (len(second.reasons) - 1) + second.reason
        unscored = np.isnan(first.score)
        return Selection(
            rows=candidates.rows,
            keep=keep,
            score=np.where(unscored, second.score, first.score),
            nearest_target=np.where(
                first.nearest_target >= 0, first.nearest_target, second.nearest_target
            ),
            reason=np.where(keep, joint, 0).astype(np.int8),
            reasons=(DROPPED, *(f"{one}_and_{other}" for one, other in reasons)),
            threshold=second.threshold if unscored.all() else first.threshold,
        )


def intersection_of(first_rule: type[Curator], second_rule: type[Curator]) -> type[Curator]:
    """Make the rule whose parameters are `first` and `second`, each those of its own rule."""
    rules = (first_rule, second_rule)
    any_needs_scores = any(needs_pair_scores(rule) for rule in rules)
    any_needs_counts = any(needs_counted_columns(rule) for rule in rules)

    @parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
    class IntersectionOfTwo(Intersection):
        first: first_rule
        second: second_rule

        needs_pair_scores = any_needs_scores
        needs_counts = any_needs_counts

    return IntersectionOfTwo
