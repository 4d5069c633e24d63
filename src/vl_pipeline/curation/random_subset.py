"""Keep a random share of the pool: the baseline that every curation has to beat."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

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
        uids = candidates.pool["uid"].take(candidates.rows)
        draws = _uniform_of(uids.to_pylist(), self.seed)
        return unscored(candidates.rows, draws < self.keep_fraction, reason="random")


def _uniform_of(uids: list[str], seed: int) -> Float64[np.ndarray, " n"]:
    """Numbers in [0, 1) that each uid and the seed determine.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), over the uid's first 64
    bits, which are a hash already, and a hash of the seed.
    """
    first_half = bytes.fromhex("".join(uid[:16] for uid in uids))
    mixed = np.frombuffer(first_half, dtype=">u8").astype(np.uint64)
    mixed ^= np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) / 2**53
