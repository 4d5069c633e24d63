"""Keep pairs whose caption names a target text, and no more than so many for each text.

A few texts are named by most captions. MetaCLIP caps what each of them contributes, which flattens
the set and leaves rare texts whole.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float64, Int64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.draws import largest_draws, uniform_draws_per_text
from vl_pipeline.curation.keywords import keywords_of
from vl_pipeline.curation.selection import Candidates, Selection, named


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class BalancedKeywords:
    """Keeps at most `max_per_text` of the pairs that name a text, drawn without replacement.

    A pair that names several texts is kept if any of them draws it, once.

    Attributes:
        max_per_text: Pairs that each target text may draw.
        seed: Another seed draws others.

    Source: MetaCLIP (arXiv 2309.16671) algorithm 1, which draws with a probability of
    max_per_text / count (so the cap holds on average) and whose released code lists a pair once
    for each text that draws it; here the cap is exact and a pair is listed once.
    """

    max_per_text: Annotated[int, Gt(0)]
    seed: Annotated[int, Ge(0)]

    block_size = None

    def calibrate(self, sample: Candidates) -> "_LimitedDraws":
        """Count on the whole pool: names are cheap to find, and a cap on a sample is none."""
        everything = dataclasses.replace(sample, rows=np.arange(sample.pool.num_rows))
        _, numbers, draws = _draw(everything, self.seed)
        limits = largest_draws(
            draws, numbers, num_texts=len(sample.target_texts), num_kept=self.max_per_text
        )
        return _LimitedDraws(seed=self.seed, limits=limits)

    def select(self, candidates: Candidates) -> Selection:
        """Keep what any of the named texts draws."""
        return self.calibrate(candidates).select(candidates)


@dataclass(frozen=True, kw_only=True)
class _LimitedDraws:
    """The rule once it is known how far each text's draws go."""

    seed: int
    limits: Float64[np.ndarray, " texts"]

    block_size = None

    def calibrate(self, sample: Candidates) -> "_LimitedDraws":
        return self

    def select(self, candidates: Candidates) -> Selection:
        places, numbers, draws = _draw(candidates, self.seed)
        drawn = draws <= self.limits[numbers]
        nearest = np.full(len(candidates), -1, dtype=np.int32)
        # in reverse, so that the first text that draws a pair stays
        nearest[places[drawn][::-1]] = numbers[drawn][::-1]
        return named(candidates.rows, nearest, reason="drawn")


def _draw(
    candidates: Candidates, seed: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Give place in the block, text and draw of each naming of a text in a caption."""
    keywords = keywords_of(tuple(candidates.target_texts))
    found = [keywords.named_in(caption) for caption in candidates.captions]
    places = np.repeat(np.arange(len(found)), [len(numbers) for numbers in found])
    numbers = np.array([number for numbers in found for number in numbers], dtype=np.int64)
    draws = uniform_draws_per_text(
        [candidates.uids[place] for place in places.tolist()],
        [candidates.target_texts[int(number)] for number in numbers],
        seed=seed,
    )
    return places, numbers, draws
