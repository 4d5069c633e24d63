"""Spare the text tower captions that were far from passing when they were last scored.

From the second pass over the pool on, each pair has a score of an earlier round. How much scores
rise between rounds is measured in each round on a sample of pairs that is scored anew; a pair
whose last score lies further below the threshold than that is taken as not passing, unscored. What
this misses is estimated in each round on a sample of the pairs that were passed over.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Curator, Selection, concatenate
from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.data.pool import Rows
from vl_pipeline.errors import ParameterError


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SkipRescoring:
    """When a pair is not scored again.

    Attributes:
        quantile: Share of the sample whose scores rose by no more than the bound.
        margin: Added to the bound, for what the sample does not show; infinite, everything is
            scored.
        sample_size: Pairs scored anew in each round to measure how much scores rose.
        audit_size: Pairs of those passed over that are scored after all in each round, to estimate
            how many would have passed.
    """

    quantile: Annotated[float, Ge(0), Lt(1)]
    margin: Annotated[float, Ge(0)]
    sample_size: Annotated[int, Gt(0)]
    audit_size: Annotated[int, Gt(0)]

    def __post_init__(self) -> None:
        if self.sample_size < num_needed(self.quantile):
            raise ParameterError(
                f"skip_rescoring.sample_size is {self.sample_size}; a quantile of {self.quantile} "
                f"shows in samples of {num_needed(self.quantile)} pairs and more; raise it, or "
                f"lower skip_rescoring.quantile"
            )


@dataclass(frozen=True)
class LastScores:
    """The last score of each pair and the round that gave it: eight bytes a pair.

    Attributes:
        score: NaN for pairs that were never scored.
        given_in: Number of the round; -1 for pairs that were never scored.
    """

    score: Float32[np.ndarray, " pairs"]
    given_in: Int32[np.ndarray, " pairs"]

    @classmethod
    def of_no_round(cls, num_pairs: int) -> "LastScores":
        """Before anything was scored."""
        return cls(np.full(num_pairs, np.nan, np.float32), np.full(num_pairs, -1, np.int32))

    def copy(self) -> "LastScores":
        """A copy to write into."""
        return LastScores(self.score.copy(), self.given_in.copy())

    def record(self, selection: Selection, *, round_index: int) -> None:
        """Write down what was scored in a round; in place."""
        self.score[selection.rows] = selection.score
        self.given_in[selection.rows] = round_index


def num_needed(quantile: float) -> int:
    """How many pairs a sample needs for one of them to lie above a quantile."""
    return math.ceil(1 / (1 - quantile) - 1e-6)


def drift_bounds(
    increase: Float32[np.ndarray, " n"], age: Int64[np.ndarray, " n"], *, quantile: float
) -> Float64[np.ndarray, " ages"]:
    """Bound how much a score rose by the number of rounds since it was given.

    The bound of an age is the quantile over the pairs of the sample that are at least as old, and
    over no fewer of the oldest than the quantile needs: an encoder that moved for longer moved
    further. It is negative where scores fell. Nothing bounds a sample that is too small.

    Args:
        increase: New score less the last one, of a sample of pairs.
        age: Rounds since the last one, at least 1; in the order of `increase`.
        quantile: Share of increases that may reach the bound.

    Returns:
        Bounds by age, from 0 (a score of this very round, which stands) to the oldest in the
        sample, whose bound holds for what is older.
    """
    needed = num_needed(quantile)
    if len(increase) < needed:
        return np.array([0.0, np.inf])
    from_oldest = np.argsort(-age, kind="stable")
    ordered, ages = increase[from_oldest].astype(np.float64), -age[from_oldest]
    bounds = [0.0]
    for number in range(1, int(age.max()) + 1):
        num_older = int(np.searchsorted(ages, -number, side="right"))
        bounds.append(
            float(np.quantile(ordered[: max(needed, num_older)], quantile, method="higher"))
        )
    return np.array(bounds)


def require_score_and_threshold(curator: Curator) -> TargetSimilarity:
    """Give the curator back if its answers can be bounded.

    Raises:
        ParameterError: If it is of another kind.
    """
    if not isinstance(curator, TargetSimilarity) or curator.max_per_text is not None:
        raise ParameterError(
            f"schedule.skip_rescoring needs a curator that keeps what scores above a threshold "
            f"(TargetSimilarity without max_per_text); {type(curator).__name__} is given, so set "
            f"it to null"
        )
    return curator


class SkippingCurator:
    """A calibrated curator for one round, who takes pairs far below the threshold as not passing.

    Where too few of a block pass, `min_keep_fraction` asks for the best of the whole block; such a
    block is scored whole, and answered as if nothing were ever passed over.

    Attributes:
        last: Scores as this round leaves them.
    """

    def __init__(
        self,
        curator: Curator,
        last: LastScores,
        *,
        settings: SkipRescoring,
        round_index: int,
    ) -> None:
        """Take a calibrated curator and the scores before this round, which are copied."""
        self._curator = require_score_and_threshold(curator)
        self._strict = dataclasses.replace(self._curator, min_keep_fraction=0.0)
        self._settings = settings
        self._round_index = round_index
        self._bounds = np.array([0.0, np.inf])
        self._skipped: list[Rows] = []
        self._num_scored = 0
        self._num_passing = 0
        self.last = last.copy()

    @property
    def block_size(self) -> int:
        """The curator's."""
        return self._curator.block_size

    def calibrate(self, sample: Candidates) -> "SkippingCurator":
        """Nothing is left to settle."""
        return self

    def measure_drift(self, look: Callable[[Rows], Candidates], rows: Rows, *, seed: int) -> None:
        """Score a sample of the pairs in `rows` that have a last score, and bound the others.

        Args:
            look: Turns rows into candidates under the encoder of this round.
            rows: Pairs that the round may come to.
            seed: Of the draw, together with the round's number.
        """
        scored_before = rows[self.last.given_in[rows] >= 0]
        sample = self._draw(scored_before, self._settings.sample_size, seed=seed, stream=3)
        if not len(sample):
            return
        before, age = self.last.score[sample], self._age(sample)
        scored = self._strict.select(look(sample))
        self._bounds = drift_bounds(scored.score - before, age, quantile=self._settings.quantile)
        self.last.record(scored, round_index=self._round_index)

    def select(self, candidates: Candidates) -> Selection:
        """Score what may pass, and answer for the whole block."""
        rows = candidates.rows
        skip = self._may_be_skipped(rows)
        due = dataclasses.replace(candidates, rows=rows[~skip])
        scored = self._strict.select(due)
        if len(rows) and scored.keep.sum() / len(rows) < self._curator.min_keep_fraction:
            return self._count(
                self._curator.select(_with_the_rest(candidates, due, skip)), rows[:0]
            )
        return _in_block(rows, self._count(scored, rows[skip]), ~skip)

    def statistics(self, look: Callable[[Rows], Candidates], *, seed: int) -> dict[str, float]:
        """Score a sample of the pairs passed over, and say what the round spared and missed.

        With n pairs passed over, of which a share p of the audited ones would have passed, and m
        pairs found passing, the miss rate is estimated as n p / (n p + m). The audited pairs are
        drawn apart from the sample that the bound was made of, uniformly without replacement.

        Returns:
            `num_rescored` and `num_skipped` of the pairs scanned; `num_audited` and
            `estimated_miss_rate`; `drift_bound`, the bound for scores of the round before, where
            there is one.
        """
        skipped = np.concatenate([*self._skipped, np.zeros(0, dtype=np.int64)])
        audited = self._draw(skipped, self._settings.audit_size, seed=seed, stream=4)
        missed = 0.0
        if len(audited):
            answer = self._strict.select(look(audited))
            self.last.record(answer, round_index=self._round_index)
            missed = float(answer.keep.mean()) * len(skipped)
        bound = float(self._bounds[1] + self._settings.margin)
        return {
            "num_rescored": self._num_scored,
            "num_skipped": len(skipped),
            "num_audited": len(audited),
            "estimated_miss_rate": missed / (missed + self._num_passing) if missed else 0.0,
            **({"drift_bound": bound} if math.isfinite(bound) else {}),
        }

    def _may_be_skipped(self, rows: Rows) -> Bool[np.ndarray, " n"]:
        bounds = self._bounds[np.minimum(self._age(rows), len(self._bounds) - 1)]
        # NaN, where there is no last score, compares as false
        return self.last.score[rows] + bounds + self._settings.margin <= self._curator.threshold

    def _age(self, rows: Rows) -> Int64[np.ndarray, " n"]:
        return self._round_index - self.last.given_in[rows].astype(np.int64)

    def _count(self, scored: Selection, skipped: Rows) -> Selection:
        self.last.record(scored, round_index=self._round_index)
        self._num_scored += len(scored)
        self._num_passing += int((scored.score > self._curator.threshold).sum())
        self._skipped.append(skipped)
        return scored

    def _draw(self, rows: Rows, size: int, *, seed: int, stream: int) -> Rows:
        draw = np.random.default_rng([seed, self._round_index, stream])
        return np.sort(draw.choice(rows, size=min(size, len(rows)), replace=False))


def _with_the_rest(
    candidates: Candidates, scored: Candidates, skipped: Bool[np.ndarray, " n"]
) -> Candidates:
    """Give the whole block, of which only the rest is encoded now."""
    rest = dataclasses.replace(candidates, rows=candidates.rows[skipped])
    parts = [(~skipped, scored), (skipped, rest)]
    width = candidates.target_features.shape[1]
    features = np.empty((len(candidates), width), dtype=np.float32)
    for places, part in parts:
        if len(part):
            features[places] = part.caption_features
    return dataclasses.replace(candidates, encode_captions=lambda _: features)


def _in_block(rows: Rows, scored: Selection, places: Bool[np.ndarray, " n"]) -> Selection:
    """Answer for a block of which only some were scored: the others are dropped."""
    rest = rows[~places]
    dropped = dataclasses.replace(
        scored,
        rows=rest,
        keep=np.zeros(len(rest), dtype=bool),
        score=np.full(len(rest), np.nan, dtype=np.float32),
        nearest_target=np.full(len(rest), -1, dtype=np.int32),
        reason=np.zeros(len(rest), dtype=np.int8),
    )
    joined = concatenate([scored, dropped])
    return joined[np.argsort(np.concatenate([np.flatnonzero(places), np.flatnonzero(~places)]))]
