"""A cap on the pairs that one target text may keep.

A few texts are near most captions. Capping what each of them contributes flattens the set and
leaves rare texts whole. Pairs are drawn, not ranked: each of a text's pairs has the same chance.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vl_pipeline.curation.draws import largest_draws, uniform_draws_per_text
from vl_pipeline.curation.selection import (
    DROPPED,
    Candidates,
    Curator,
    Selection,
    concatenate,
)


def cap_per_text(
    curator: Curator, sample: Candidates, *, max_per_text: int, seed: int
) -> "CappedPerText":
    """Settle how far each text's draws go, from what `curator` keeps of a sample.

    On the whole pool, cut into blocks in its order, the cap is exact. On a part of it, a text's
    share of the sample stands for its share of the pool: a text with n of the sample's kept pairs
    is taken to have n * pool / sample, and each is kept with the chance that makes `max_per_text`
    of them. A text that the sample does not hold is not capped. Each round of training draws anew,
    so no pair is left out for good.

    Args:
        curator: Calibrated; names a nearest target text for each pair it keeps.
        sample: Candidates of the round.
        max_per_text: Pairs of the pool that each target text may keep.
        seed: Another seed draws others.
    """
    kept = _selected_in_blocks(curator, sample).kept
    num_texts, num_pairs = len(sample.target_texts), sample.pool.num_rows
    if len(sample) == num_pairs:
        draws = _draw(kept, sample, seed)
        limits = largest_draws(
            draws, kept.nearest_target, num_texts=num_texts, num_kept=max_per_text
        )
    else:
        counts = np.bincount(kept.nearest_target, minlength=num_texts)
        expected = counts.clip(min=1) * (num_pairs / max(1, len(sample)))
        limits = np.where(counts, np.minimum(1.0, max_per_text / expected), 1.0)
    return CappedPerText(curator=curator, seed=seed, limits=limits)


@dataclass(frozen=True, kw_only=True)
class CappedPerText:
    """A calibrated rule, and for each text the draw up to which its pairs are kept."""

    curator: Curator
    seed: int
    limits: Float64[np.ndarray, " texts"]

    @property
    def block_size(self) -> int | None:
        """That of the rule."""
        return self.curator.block_size

    def calibrate(self, sample: Candidates) -> "CappedPerText":
        """Nothing is left to settle."""
        return self

    def select(self, candidates: Candidates) -> Selection:
        """Keep what the rule keeps and the nearest text draws."""
        close = self.curator.select(candidates)
        draws = _draw(close, candidates, self.seed)
        keep = close.keep & (draws <= self.limits[close.nearest_target])
        reason = np.where(keep, close.reason, close.reasons.index(DROPPED)).astype(np.int8)
        return dataclasses.replace(close, keep=keep, reason=reason)


def _selected_in_blocks(curator: Curator, sample: Candidates) -> Selection:
    size = curator.block_size or max(1, len(sample))
    blocks = [sample.rows[start : start + size] for start in range(0, len(sample), size)]
    parts = [curator.select(dataclasses.replace(sample, rows=rows)) for rows in blocks]
    return concatenate(parts or [curator.select(sample)])


def _draw(selection: Selection, candidates: Candidates, seed: int) -> Float64[np.ndarray, " n"]:
    uids = candidates.pool["uid"].take(selection.rows).to_pylist()
    texts = [candidates.target_texts[int(number)] for number in selection.nearest_target]
    return uniform_draws_per_text(uids, texts, seed=(seed, candidates.round_index))
