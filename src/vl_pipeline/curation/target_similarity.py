"""Keep captions that are close to a text of the task: CiT's rule.

A pair's score is the largest cosine similarity between its caption and any target text. Pairs
above a threshold are kept. Where too few of a block pass, the threshold is set aside and the
block's best are kept instead. What one text may keep can be capped.
"""

import dataclasses
from enum import StrEnum
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from jaxtyping import Float32, Int32, Int64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.cap import cap_per_text
from vl_pipeline.curation.selection import DROPPED, Candidates, Curator, Selection
from vl_pipeline.errors import CurationError, ParameterError

_SIMILARITIES_AT_ONCE = 2**24  # 64 MB
_ROUNDING = 2e-6  # float32 similarities of one text from batch to batch: 5e-7, measured


class ThresholdMode(StrEnum):
    """What `threshold` means."""

    ABSOLUTE = "absolute"  # a cosine similarity
    QUANTILE = "quantile"  # a share of the pool that scores lower


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TargetSimilarity:
    """Keeps pairs whose caption is close to a target text.

    Attributes:
        threshold: A pair passes if its score is strictly larger. In mode `absolute` a cosine
            similarity; in mode `quantile` the share of a sample of the pool that must score
            lower, which makes one value mean the same for every encoder.
        threshold_mode: See `threshold`.
        min_keep_fraction: Where less than this share of a block passes, the best
            floor(min_keep_fraction * n) of it are kept instead; 0 switches that off.
        block_size: Captions judged together; below 1 / min_keep_fraction nothing is relaxed.
        max_per_text: Pairs of the pool that each target text may keep, of those that are close to
            it; None caps nothing. It holds on average in a round of training, and before training
            where the pool is too large to be calibrated on as a whole (`cap_per_text`).
        seed: Of the cap's draws; another seed keeps others.

    Source: CiT (arXiv 2301.02241); the relaxation is in its released code only (engine.py:262).
    CiT caps nothing; the cap is MetaCLIP's (arXiv 2309.16671) on CiT's idea of closeness.
    """

    threshold: Annotated[float, Ge(-1), Le(1)]
    threshold_mode: ThresholdMode
    min_keep_fraction: Annotated[float, Ge(0), Le(1)]
    block_size: Annotated[int, Gt(0)]
    max_per_text: Annotated[int, Gt(0)] | None = None
    seed: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.threshold_mode is ThresholdMode.QUANTILE and self.threshold < 0:
            raise ParameterError(f"threshold is {self.threshold}; a quantile lies in [0, 1]")

    def calibrate(self, sample: Candidates) -> Curator:
        """Turn a quantile into the similarity it stands for now, and settle the cap."""
        settled = self._with_absolute_threshold(sample)
        if self.max_per_text is None:
            return settled
        uncapped = dataclasses.replace(settled, max_per_text=None)
        return cap_per_text(uncapped, sample, max_per_text=self.max_per_text, seed=self.seed)

    def _with_absolute_threshold(self, sample: Candidates) -> "TargetSimilarity":
        if self.threshold_mode is ThresholdMode.ABSOLUTE:
            return self
        score, _ = max_similarity(sample.caption_features, sample.target_features)
        return dataclasses.replace(
            self,
            threshold=between_scores(score, self.threshold),
            threshold_mode=ThresholdMode.ABSOLUTE,
        )

    def select(self, candidates: Candidates) -> Selection:
        """Keep what passes the threshold, or the best of the block where too little does.

        A rule with a cap has to be calibrated first: a block cannot say what a text may keep.
        """
        if self.max_per_text is not None:
            raise ValueError("max_per_text is settled by calibrate; ask what that gives")
        score, nearest = max_similarity(candidates.caption_features, candidates.target_features)
        passes = score > self.threshold
        keep = passes.copy()
        if len(score) and passes.mean() < self.min_keep_fraction:
            num_relaxed = int(self.min_keep_fraction * len(score))
            keep[np.argsort(-score, kind="stable")[:num_relaxed]] = True
        return Selection(
            rows=candidates.rows,
            keep=keep,
            score=score,
            nearest_target=nearest,
            reason=np.where(passes, 1, np.where(keep, 2, 0)).astype(np.int8),
            reasons=(DROPPED, "threshold", "relaxation"),
            threshold=self.threshold,
        )


def between_scores(score: Float32[np.ndarray, " n"], share: float) -> float:
    """Find a threshold that about `share` of the scores lie below, half-way between two of them.

    A quantile that is itself a score would let that pair pass or not by its last bit, which
    differs with how many similarities are computed at once. Scores that tie at the quantile pass
    together: many captions may be a target text word for word. Scores tie that differ by rounding:
    a text's features depend on its company in a batch, in their last bits. A share of 0 lets all
    pass.
    """
    if not share:
        return -1.0
    ordered = np.sort(score).astype(np.float64)
    num_below = int(share * (len(ordered) - 1)) + 1
    if num_below == len(ordered):
        return float(ordered[-1])  # nothing scores higher
    lowest_kept = ordered[ordered >= ordered[num_below] - _ROUNDING][0]
    lower = np.append(-1.0, ordered[ordered < lowest_kept])[-1]
    return float((lower + lowest_kept) / 2)


def max_similarity(
    features: Float32[np.ndarray, "n width"], targets: Float32[np.ndarray, "targets width"]
) -> tuple[Float32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
    """Find each row's most similar target, exactly, in blocks that bound the memory.

    Args:
        features: Unit length.
        targets: Unit length, at least one.

    Returns:
        The cosine similarity and the index of the nearest target; the first of equals.

    Raises:
        CurationError: If a feature is not a number.
    """
    best = np.empty(len(features), dtype=np.float32)
    nearest = np.empty(len(features), dtype=np.int32)
    rows_at_once = max(1, _SIMILARITIES_AT_ONCE // len(targets))
    for start in range(0, len(features), rows_at_once):
        block = slice(start, start + rows_at_once)
        best[block], nearest[block] = _best_of_row(features[block] @ targets.T)
    if np.isnan(best).any():
        raise CurationError(
            "some caption or target features are not numbers; the text tower diverged, lower "
            "text_start.learning_rate or training.optimization.learning_rate"
        )
    return best.clip(-1, 1), nearest  # rounding can leave a product of unit vectors above 1


def _best_of_row(
    similarity: Float32[np.ndarray, "n targets"],
) -> tuple[Float32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Give each row's largest entry and its place; the block is freed when this returns."""
    places = similarity.argmax(axis=1)
    return similarity[np.arange(len(similarity)), places], places
