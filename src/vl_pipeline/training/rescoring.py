"""Spare the text tower captions that will not pass, as their features of an earlier round tell.

From the second pass over the pool on, each pair has features of an earlier round. How the tower
has moved since is measured in each round on a sample of pairs that is encoded anew: as a linear map
from old features to new ones. It predicts the features of every other pair, and so its score
under the target texts of now. Pairs predicted so low that hardly one of them passes are taken as
not passing, unscored, and go on with their predicted features. What this misses is estimated in
each round on a sample of the pairs passed over.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float32
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Curator, Selection, concatenate
from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.data.pool import Rows
from vl_pipeline.errors import ParameterError
from vl_pipeline.training.forecast import Forecast, LastFeatures


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SkipRescoring:
    """When a pair is not scored again.

    Attributes:
        miss_rate: Share of the passing pairs that may be passed over, as the sample estimates it;
            0, everything is scored.
        sample_size: Pairs encoded anew in each round to measure how the tower moved.
        audit_size: Pairs of those passed over that are scored after all in each round, to estimate
            how many would have passed.
    """

    miss_rate: Annotated[float, Ge(0), Lt(1)]
    sample_size: Annotated[int, Gt(1)]
    audit_size: Annotated[int, Gt(0)]

    def __post_init__(self) -> None:
        if self.sample_size < (needed := num_needed(self.miss_rate)):
            raise ParameterError(
                f"skip_rescoring.sample_size is {self.sample_size}; a miss rate of "
                f"{self.miss_rate} shows in samples of {needed} pairs and more; raise it, or "
                f"raise skip_rescoring.miss_rate"
            )


def num_needed(miss_rate: float) -> int:
    """How many pairs a sample needs for one of them to be the share that may be missed."""
    return math.ceil(1 / miss_rate - 1e-6) if miss_rate else 0


def require_score_and_threshold(curator: Curator) -> TargetSimilarity:
    """Give the curator back if what passes can be predicted.

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
    """A calibrated curator for one round, who takes pairs that are predicted to fail as failing.

    Where too few of a block pass, `min_keep_fraction` asks for the best of the whole block; such a
    block is scored whole, and answered as if nothing were ever passed over.

    Attributes:
        last: Features as this round leaves them.
    """

    def __init__(self, curator: Curator, last: LastFeatures, *, settings: SkipRescoring) -> None:
        """Take a calibrated curator and the features before this round, which are copied."""
        self._curator = require_score_and_threshold(curator)
        self._strict = dataclasses.replace(self._curator, min_keep_fraction=0.0)
        self._settings = settings
        self._forecast: Forecast | None = None
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

    def measure(
        self, look: Callable[[Rows], Candidates], rows: Rows, *, draw: np.random.Generator
    ) -> None:
        """Encode a sample of the known pairs in `rows`, and forecast the others.

        A sample too small to show the miss rate forecasts nothing.

        Args:
            look: Turns rows into candidates under the encoder of this round.
            rows: Pairs that the round may come to.
            draw: Source of chance.
        """
        sample = _sample(rows[self.last.known(rows)], self._settings.sample_size, draw)
        if not self._settings.miss_rate or len(sample) < num_needed(self._settings.miss_rate):
            return
        seen = look(sample)
        self._forecast = Forecast.measured(
            self.last.of(sample),
            seen.caption_features,
            seen.target_features,
            threshold=self._curator.threshold,
            miss_rate=self._settings.miss_rate,
        )

    def select(self, candidates: Candidates) -> Selection:
        """Score what may pass, and answer for the whole block."""
        rows = candidates.rows
        skip, predicted = self._forecast_of(rows)
        due = dataclasses.replace(candidates, rows=rows[~skip])
        scored = self._strict.select(due)
        if len(rows) and scored.keep.sum() / len(rows) < self._curator.min_keep_fraction:
            whole = _with_the_rest(candidates, due, skip)
            return self._count(whole, self._curator.select(whole), rows[:0])
        if len(predicted):
            self.last.record(rows[skip], predicted)
        return _in_block(rows, self._count(due, scored, rows[skip]), ~skip)

    def statistics(
        self, look: Callable[[Rows], Candidates], *, draw: np.random.Generator
    ) -> dict[str, float]:
        """Score a sample of the pairs passed over, and say what the round spared and missed.

        With n pairs passed over, of which a share p of the audited ones would have passed, and m
        pairs found passing, the miss rate is estimated as n p / (n p + m). The audited pairs are
        drawn apart from the sample that the forecast was made of, uniformly without replacement.

        Returns:
            `num_rescored` and `num_skipped` of the pairs scanned; `num_audited` and
            `estimated_miss_rate`; `skipped_up_to`, the predicted score up to which pairs were
            passed over, where there is one.
        """
        skipped = np.concatenate([*self._skipped, np.zeros(0, dtype=np.int64)])
        audited = _sample(skipped, self._settings.audit_size, draw)
        missed = 0.0
        if len(audited):
            seen = look(audited)
            missed = float(self._strict.select(seen).keep.mean()) * len(skipped)
            self.last.record(audited, seen.caption_features)
        cut = self._forecast.cut if self._forecast else -math.inf
        return {
            "num_rescored": self._num_scored,
            "num_skipped": len(skipped),
            "num_audited": len(audited),
            "estimated_miss_rate": missed / (missed + self._num_passing) if missed else 0.0,
            **({"skipped_up_to": cut} if math.isfinite(cut) else {}),
        }

    def _forecast_of(
        self, rows: Rows
    ) -> tuple[Bool[np.ndarray, " n"], Float32[np.ndarray, "skipped width"]]:
        """Say which pairs are passed over, and predict the features of those."""
        skip = np.zeros(len(rows), dtype=bool)
        if self._forecast is None or math.isinf(self._forecast.cut):
            return skip, np.zeros((0, self.last.rounded.shape[1]), dtype=np.float32)
        known = self.last.known(rows)
        predicted = self._forecast.features(self.last.of(rows[known]))
        ruled_out = self._forecast.rules_out(predicted)
        skip[known] = ruled_out
        return skip, predicted[ruled_out]

    def _count(self, block: Candidates, scored: Selection, skipped: Rows) -> Selection:
        if len(block):
            self.last.record(block.rows, block.caption_features)
        self._num_scored += len(scored)
        self._num_passing += int((scored.score > self._curator.threshold).sum())
        self._skipped.append(skipped)
        return scored


def _sample(rows: Rows, size: int, draw: np.random.Generator) -> Rows:
    return draw.choice(rows, size=min(size, len(rows)), replace=False)


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
