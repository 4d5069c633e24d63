"""What a sample of captions tells of all others: features and scores as the tower makes them now.

Most of what training does to features between two rounds is one linear map. It is measured on a
sample that is encoded anew, and predicts the score of any caption from its earlier features.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8

from vl_pipeline.curation.target_similarity import max_similarity
from vl_pipeline.data.pool import Rows

_RIDGE = 1.0  # beside unit vectors: a direction seen once in the sample moves half its way
_HIGHEST = np.iinfo(np.int8).max


@dataclass(frozen=True)
class LastFeatures:
    """The features of each pair's caption as of the last round that came to it: a byte a dimension.

    Attributes:
        rounded: Features over their largest entry, in 127ths: of the tower where the pair was
            scored, predicted ones where it was passed over; all zero before the first time.
    """

    rounded: Int8[np.ndarray, "pairs width"]

    @classmethod
    def of_no_round(cls, num_pairs: int, width: int) -> "LastFeatures":
        """Before any round."""
        return cls(np.zeros((num_pairs, width), np.int8))

    def copy(self) -> "LastFeatures":
        """A copy to write into."""
        return LastFeatures(self.rounded.copy())

    def record(self, rows: Rows, features: Float32[np.ndarray, "n width"]) -> None:
        """Write down what a round came to; in place."""
        largest = np.abs(features).max(axis=1, keepdims=True)
        self.rounded[rows] = np.rint(features / largest * _HIGHEST).astype(np.int8)

    def known(self, rows: Rows) -> Bool[np.ndarray, " n"]:
        """Say which of the pairs a round came to."""
        return np.count_nonzero(self.rounded[rows], axis=1) > 0

    def of(self, rows: Rows) -> Float32[np.ndarray, "n width"]:
        """Give unit-length features of known pairs."""
        return _unit_length(self.rounded[rows].astype(np.float32))


@dataclass(frozen=True)
class Forecast:
    """Which pairs will not pass, told from features of earlier rounds.

    Attributes:
        turn: From features of an earlier round to those of now.
        targets: Features of the target texts now, of unit length.
        cut: Predicted score up to which pairs are passed over.
    """

    turn: Float32[np.ndarray, "width width"]
    targets: Float32[np.ndarray, "targets width"]
    cut: float

    @classmethod
    def measured(
        cls,
        before: Float32[np.ndarray, "n width"],
        now: Float32[np.ndarray, "n width"],
        targets: Float32[np.ndarray, "targets width"],
        *,
        threshold: float,
        miss_rate: float,
    ) -> "Forecast":
        """Measure a sample in random order, whose features of both rounds are known.

        Each half's scores are predicted by the map that fits the other half, so that errors of
        prediction are those of pairs that the map has not seen.
        """
        middle = len(before) // 2
        halves = slice(None, middle), slice(middle, None)
        turns = [turn_between(before[half], now[half]) for half in halves]
        predicted = np.concatenate(
            [
                max_similarity(_unit_length(before[half] @ turn), targets)[0]
                for half, turn in zip(halves, reversed(turns), strict=True)
            ]
        )
        actual, _ = max_similarity(now, targets)
        cut = highest_cut(predicted, actual, threshold=threshold, miss_rate=miss_rate)
        return cls(turn_between(before, now), targets, cut)

    def features(self, before: Float32[np.ndarray, "n width"]) -> Float32[np.ndarray, "n width"]:
        """Predict unit-length features of now."""
        return _unit_length(before @ self.turn)

    def rules_out(self, now: Float32[np.ndarray, "n width"]) -> Bool[np.ndarray, " n"]:
        """Say which pairs are passed over, by their predicted features."""
        score, _ = max_similarity(now, self.targets)
        return score <= self.cut


def turn_between(
    before: Float32[np.ndarray, "n width"], now: Float32[np.ndarray, "n width"]
) -> Float32[np.ndarray, "width width"]:
    """Find the linear map from a sample's features to its later ones.

    Ridge regression towards the identity: what the sample does not show has not moved.
    """
    ridge = _RIDGE * np.eye(before.shape[1], dtype=np.float32)
    return np.linalg.solve(before.T @ before + ridge, before.T @ now + ridge)


def highest_cut(
    predicted: Float32[np.ndarray, " n"],
    actual: Float32[np.ndarray, " n"],
    *,
    threshold: float,
    miss_rate: float,
) -> float:
    """Find the highest score up to which predicted scores may be taken as not passing.

    A pair passes with the probability that the errors of the whole sample, added to its predicted
    score, exceed the threshold. Those up to the cut sum up to at most `miss_rate` of all of them.

    Args:
        predicted: Scores of a sample, by a map that was fitted to other pairs.
        actual: The true ones.
        threshold: A pair passes if its score is strictly larger.
        miss_rate: Share of the passing pairs that may be lost.

    Returns:
        A predicted score; minus infinity where each pair may pass, or none in the sample does
        and so nothing is known of what does.
    """
    errors = np.sort(actual.astype(np.float64) - predicted)
    ordered = np.sort(predicted).astype(np.float64)
    num_lower = np.searchsorted(errors, threshold - ordered, side="right")
    passing: Float64[np.ndarray, " n"] = 1 - num_lower / len(errors)
    lost = np.cumsum(passing)
    num_below = int(np.searchsorted(lost, miss_rate * lost[-1], side="right"))
    if not lost[-1]:
        return -math.inf
    below = ordered[:num_below]
    below = below[below < ordered[num_below]] if num_below < len(ordered) else below
    return float(below[-1]) if len(below) else -math.inf


def _unit_length(features: Float32[np.ndarray, "n width"]) -> Float32[np.ndarray, "n width"]:
    return features / np.linalg.norm(features, axis=1, keepdims=True)
