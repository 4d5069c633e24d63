"""Keep captions that are close to a target text, and no more than so many for each text.

The cap flattens what a threshold keeps: without it the texts that the pool speaks of most fill
the set.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.draws import largest_draws, uniform_draws_per_text
from vl_pipeline.curation.selection import DROPPED, Candidates, Selection
from vl_pipeline.curation.target_similarity import TargetSimilarity


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CappedSimilarity:
    """Keeps at most `max_per_text` of the pairs that `similarity` keeps for a text.

    Calibrated on the whole pool the cap is exact; calibrated on a sample of it, as in rounds, each
    text's share of the sample stands for its share of the pool.

    Attributes:
        similarity: Which pairs are close enough.
        max_per_text: Pairs of the pool that each target text may keep, drawn without replacement.
        seed: Another seed draws others.
    """

    similarity: TargetSimilarity
    max_per_text: Annotated[int, Gt(0)]
    seed: Annotated[int, Ge(0)]

    @property
    def block_size(self) -> int:
        """That of the similarity."""
        return self.similarity.block_size

    def calibrate(self, sample: Candidates) -> "_CappedDraws":
        """Settle the threshold, and how far each text's draws go."""
        similarity = self.similarity.calibrate(sample)
        kept = similarity.select(sample).kept
        num_kept = self.max_per_text * len(sample) // sample.pool.num_rows
        limits = largest_draws(
            _draw(kept, sample, self.seed),
            kept.nearest_target,
            num_texts=len(sample.target_texts),
            num_kept=num_kept,
        )
        return _CappedDraws(similarity=similarity, seed=self.seed, limits=limits)

    def select(self, candidates: Candidates) -> Selection:
        """Keep what is close to a text that draws it, after calibration on the block itself."""
        return self.calibrate(candidates).select(candidates)


@dataclass(frozen=True, kw_only=True)
class _CappedDraws:
    """The rule once threshold and draws are settled."""

    similarity: TargetSimilarity
    seed: int
    limits: Float64[np.ndarray, " texts"]

    @property
    def block_size(self) -> int:
        return self.similarity.block_size

    def calibrate(self, sample: Candidates) -> "_CappedDraws":
        return self

    def select(self, candidates: Candidates) -> Selection:
        close = self.similarity.select(candidates)
        draws = _draw(close, candidates, self.seed)
        keep = close.keep & (draws <= self.limits[close.nearest_target])
        reason = np.where(keep, close.reason, close.reasons.index(DROPPED)).astype(np.int8)
        return dataclasses.replace(close, keep=keep, reason=reason)


def _draw(selection: Selection, candidates: Candidates, seed: int) -> Float64[np.ndarray, " n"]:
    uids = candidates.pool["uid"].take(selection.rows).to_pylist()
    texts = [candidates.target_texts[int(number)] for number in selection.nearest_target]
    return uniform_draws_per_text(uids, texts, seed=seed)
