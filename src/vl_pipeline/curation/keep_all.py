"""Keep every candidate: the baseline that curates nothing."""

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Selection, unscored


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class KeepAll:
    """Keeps every pair."""

    block_size = None

    def calibrate(self, sample: Candidates) -> "KeepAll":
        """Nothing depends on the pool."""
        return self

    def select(self, candidates: Candidates) -> Selection:
        """Keep all."""
        return unscored(candidates.rows, np.ones(len(candidates), dtype=bool), reason="all")
