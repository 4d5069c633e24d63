"""Choose pairs where batches are made, with the encoder as it was before training.

Each block of the pool is judged when training is about to need it, so nothing waits for a curation
of the whole pool, and a pool that is never traversed to its end is never judged to its end.
"""

from collections.abc import Generator
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Curator
from vl_pipeline.training.scan import calibration_sample, scan, traversal_block
from vl_pipeline.training.schedule import (
    Round,
    RoundState,
    Site,
    require_a_batch,
    round_after,
    shuffled_batches,
)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CurateWhileLoading:
    """Chooses the next few steps' pairs, with features that do not change.

    The pool is traversed without end in shuffled passes. A round ends with the pair that fills it,
    and the next one goes on right behind: over a pass, each pair that a curation before training
    keeps is trained on at most once, as long as the answer does not depend on blocks. A round that
    reaches into the next pass passes over what it has seen in this one, and the part of a batch
    that is left when a whole pool did not fill a round is not trained on. The set that was curated
    before training is not used but to compare with.

    Attributes:
        fill_steps: Optimiser steps a round feeds.
        calibration_size: Pairs sampled to calibrate the curator, once.
    """

    fill_steps: Annotated[int, Gt(0)]
    calibration_size: Annotated[int, Ge(1)]

    def rounds(self, site: Site, *, resume: RoundState | None) -> Generator[Round]:
        """Yield the next pairs that are kept, round by round.

        Raises:
            CurationError: If a round keeps less than one batch, which is all that the pool keeps.
        """
        require_a_batch(site.num_pairs, site, "the pool", site.num_pairs)
        sample = calibration_sample(site, 0, self.calibration_size)
        curator = site.curator.calibrate(site.look_before_training(sample))
        previous = resume
        if resume:
            yield Round(state=resume, batches=shuffled_batches(resume, site))
        while True:
            filled = self._fill(site, curator, previous)
            previous = filled.state
            yield filled

    def _fill(self, site: Site, curator: Curator, previous: RoundState | None) -> Round:
        selection, position, status = scan(
            site,
            curator,
            site.look_before_training,
            start=previous.position if previous else 0,
            budget=self.fill_steps * site.batch_size,
            max_scan=site.num_pairs,
        )
        if status == "filled":
            last = np.flatnonzero(selection.keep)[-1]
            selection = selection[: last + 1]
            position = _behind(int(selection.rows[last]), site, position)
        return round_after(
            previous, site, selection, position=position, statistics={"status": status}
        )


def _behind(row: int, site: Site, position: int) -> int:
    """Where a traversal stands right behind a row of the pass that ends at or holds `position`."""
    start = (position - 1) // site.num_pairs * site.num_pairs
    order = traversal_block(site.num_pairs, start, site.num_pairs, seed=site.seed)
    return start + int(np.flatnonzero(order == row)[0]) + 1
