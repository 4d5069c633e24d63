"""Keep pairs whose caption names a target text: no model, no threshold, hard to beat."""

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.keywords import keywords_of
from vl_pipeline.curation.selection import Candidates, Selection, named


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NamedInCaption:
    """Keeps a pair if its caption names any target text.

    Source: the text-based filter of DataComp (arXiv 2304.14108) section 4.2, with the task's own
    names for ImageNet's.
    """

    block_size = None

    def calibrate(self, sample: Candidates) -> "NamedInCaption":
        """Nothing depends on the pool."""
        return self

    def select(self, candidates: Candidates) -> Selection:
        """Keep what names a text; the first of those it names counts as its nearest."""
        keywords = keywords_of(tuple(candidates.target_texts))
        found = [keywords.named_in(caption) for caption in candidates.captions]
        first = np.array([numbers[0] if numbers else -1 for numbers in found], dtype=np.int32)
        return named(candidates.rows, first, reason="named")
