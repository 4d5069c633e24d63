"""Keep pairs whose image and caption agree: the one rule that looks at the images.

A scorer, a dual encoder that stays as it is, embeds image and caption of each pair once; their
cosine similarity is the pair's score. The best share of the pool is kept.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float32
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import DROPPED, Candidates, Selection

_REASONS = (DROPPED, "agreement")


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ImageTextAgreement:
    """Keeps the share of the pool that scores highest.

    Scores do not change while a model trains, so rounds during training keep what a curation
    before it keeps.

    Attributes:
        keep_fraction: Share of the pool. At most floor(keep_fraction * pairs) are kept: pairs that
            tie across that border are all dropped, so that no order decides among them.

    Source: the CLIP score filter of DataComp (arXiv 2304.14108) section 4.2; DFN (arXiv
    2309.17425) with a scorer trained to filter. Both keep the pairs on the border.
    """

    keep_fraction: Annotated[float, Ge(0), Le(1)]

    needs_pair_scores = True
    block_size = None

    def calibrate(self, sample: Candidates) -> "_ScoreAbove":
        """Find the border on the whole pool: its scores are known, and a sample's would vary."""
        everything = dataclasses.replace(sample, rows=np.arange(sample.pool.num_rows))
        return _ScoreAbove(threshold=_border(everything.pair_scores, self.keep_fraction))

    def select(self, candidates: Candidates) -> Selection:
        """Keep the best of the pool, as far as they are in the block."""
        return self.calibrate(candidates).select(candidates)


@dataclass(frozen=True, kw_only=True)
class _ScoreAbove:
    """The rule once the border is known."""

    threshold: float

    block_size = None

    def calibrate(self, sample: Candidates) -> "_ScoreAbove":
        return self

    def select(self, candidates: Candidates) -> Selection:
        score = candidates.pair_scores
        keep = score > np.float32(self.threshold)
        return Selection(
            rows=candidates.rows,
            keep=keep,
            score=score,
            nearest_target=np.full(len(candidates), -1, dtype=np.int32),
            reason=keep.astype(np.int8),
            reasons=_REASONS,
            threshold=self.threshold,
        )


def _border(score: Float32[np.ndarray, " n"], keep_fraction: float) -> float:
    """Give the highest score that is not kept; where all are kept, the next number below them."""
    num_dropped = len(score) - int(keep_fraction * len(score))
    if not len(score):
        return 0.0
    if not num_dropped:
        return float(np.nextafter(score.min(), np.float32(-2)))
    return float(np.partition(score, num_dropped - 1)[num_dropped - 1])
