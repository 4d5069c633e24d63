"""Numbers that say what a selection did, for one round or for a whole pool."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from vl_pipeline.curation.selection import Selection
from vl_pipeline.data.pool import Rows

SCORE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def selection_statistics(selection: Selection, *, num_targets: int) -> dict[str, float]:
    """Describe one selection.

    Returns:
        `num_scanned`, `num_kept`, `keep_fraction`, `kept_by_<reason>` for each reason,
        `dropped_by_<rule>` for each rule; the `threshold` where there is one; for curators that
        score, `score_q05` to `score_q95` over all candidates; for those that compare with target
        texts, how many of these no kept pair is nearest to, and the entropy of the hits.
    """
    kept = selection.kept
    reasons = selection.count_by_reason()
    statistics: dict[str, float] = {
        "num_scanned": len(selection),
        "num_kept": len(kept),
        "keep_fraction": len(kept) / max(1, len(selection)),
        **{
            f"{'dropped' if name in selection.rules else 'kept'}_by_{name}": reasons[name]
            for name in selection.reasons[1:]
        },
    }
    if selection.threshold is not None:
        statistics["threshold"] = selection.threshold
    if len(selection) and not np.isnan(selection.score).any():
        quantiles = np.quantile(selection.score, SCORE_QUANTILES)
        for share, value in zip(SCORE_QUANTILES, quantiles, strict=True):
            statistics[f"score_q{share * 100:02.0f}"] = float(value)
    if num_targets and (selection.nearest_target >= 0).any():
        hits = hits_per_target(kept, num_targets)
        statistics["num_targets_without_hit"] = int((hits == 0).sum())
        statistics["target_entropy"] = normalized_entropy(hits)
    return statistics


def hits_per_target(selection: Selection, num_targets: int) -> Int64[np.ndarray, " targets"]:
    """Count, for each target text, the pairs of a selection that are nearest to it."""
    return np.bincount(selection.nearest_target, minlength=num_targets)


def normalized_entropy(counts: Int64[np.ndarray, " n"]) -> float:
    """Entropy of a histogram over log(n): 1 for a flat one, 0 when one entry holds everything."""
    total = counts.sum()
    if total == 0 or len(counts) < 2:
        return 0.0
    share = counts[counts > 0] / total
    return float(-(share * np.log(share)).sum() / np.log(len(counts)))


def jaccard(first: Rows, second: Rows) -> float:
    """Share of two sets' union that is in both; 1 for two empty sets."""
    union = len(np.union1d(first, second))
    return len(np.intersect1d(first, second)) / union if union else 1.0


def drift(before: Float32[np.ndarray, "n width"], after: Float32[np.ndarray, "n width"]) -> float:
    """Mean cosine distance between two encodings of the same texts, both at unit length."""
    return float(1 - (before * after).sum(axis=1).mean())


def kept_against_threshold(
    score: Float32[np.ndarray, " n"], thresholds: Sequence[float]
) -> list[float]:
    """Share of candidates that each threshold would keep, without relaxation."""
    ordered = np.sort(score)
    above = len(ordered) - np.searchsorted(
        ordered, np.asarray(thresholds, dtype=score.dtype), side="right"
    )
    return (above / max(1, len(ordered))).tolist()
