"""Keep a random share of the pool: the baseline that every curation has to beat."""

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.draws import uniform_draws
from vl_pipeline.curation.selection import Candidates, Selection, unscored


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RandomSubset:
    """Keeps each pair with the same chance.

    The draw is a function of the pair's uid and the seed, so that it is the same in any order,
    in any block and on any number of machines.

    Attributes:
        keep_fraction: Chance of each pair; set it to the share that the compared curation keeps.
        seed: Another seed keeps another subset.
    """

    keep_fraction: Annotated[float, Ge(0), Le(1)]
    seed: Annotated[int, Ge(0)]

    block_size = None

    def calibrate(self, sample: Candidates) -> "RandomSubset":
        """Nothing depends on the pool."""
        return self

    def select(self, candidates: Candidates) -> Selection:
        """Keep a pair if its uid's hash falls below `keep_fraction`."""
        draws = uniform_draws(candidates.uids, seed=self.seed)
        return unscored(candidates.rows, draws < self.keep_fraction, reason="random")
