"""CiT's schedule: the pairs of each round are chosen by the text tower as training has made it.

A round goes on through the pool where the last one stopped, until it has kept enough.
"""

import dataclasses
from collections.abc import Callable, Generator
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Curator
from vl_pipeline.curation.statistics import drift
from vl_pipeline.data.pool import Rows
from vl_pipeline.training.forecast import LastFeatures
from vl_pipeline.training.overlap import Ahead
from vl_pipeline.training.rescoring import (
    SkippingCurator,
    SkipRescoring,
    require_score_and_threshold,
)
from vl_pipeline.training.scan import calibration_sample, scan, upcoming
from vl_pipeline.training.schedule import (
    Round,
    RoundState,
    Site,
    require_a_batch,
    round_after,
    shuffled_batches,
)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CurateDuringTraining:
    """Chooses anew every few steps, with the text tower as it has become: CiT.

    The pool is traversed without end in shuffled passes, and each round goes on where the last
    one stopped. A round ends when it has kept enough for `curate_every` steps, has seen every
    pair of the pool once, or has reached `max_scan`; it then trains once on what it kept.

    Attributes:
        curate_every: Optimiser steps a full round feeds.
        max_scan: Pairs a round may look at.
        calibration_size: Pairs sampled to calibrate the curator at the start of a round.
        skip_rescoring: When pairs that are predicted to fail are not scored again; None, each
            pair is scored each time, as CiT does.
        overlap: Choose the next round while this one trains, with the text tower as it was when
            this one began; otherwise with the tower as it is after it, as CiT does.

    Source: CiT (arXiv 2301.02241) algorithm 1. Its released code never ends a round that cannot
    be filled; this one does, and says so in the round's `status`.
    """

    curate_every: Annotated[int, Gt(0)]
    max_scan: Annotated[int, Gt(0)]
    calibration_size: Annotated[int, Ge(1)]
    skip_rescoring: SkipRescoring | None = None
    overlap: bool = False

    def rounds(self, site: Site, *, resume: RoundState | None) -> Generator[Round]:
        """Yield curations, each with one shuffled pass over what it kept.

        Raises:
            CurationError: If a round keeps less than one batch.
            ParameterError: If `skip_rescoring` is set and the curator has no score and threshold.
        """
        require_a_batch(site.num_pairs, site, "the pool", site.num_pairs)
        if self.skip_rescoring:
            require_score_and_threshold(site.curator)
        current = (
            Round(state=resume, batches=shuffled_batches(resume, site))
            if resume
            else self._curate(site, site.look(), None)
        )
        yield from (self._ahead if self.overlap else self._in_turn)(site, current)

    def _in_turn(self, site: Site, current: Round) -> Generator[Round]:
        while True:
            yield current
            current = self._curate(site, site.look(), current.state)

    def _ahead(self, site: Site, current: Round) -> Generator[Round]:
        """Choose each round in a thread while the one before it is trained.

        The weights it chooses with are part of the state of the round that is trained, so that an
        interrupted run chooses again with the same.
        """
        assert site.weights is not None and site.look_at is not None
        while True:
            state = current.state
            if not state.encoder:
                state = dataclasses.replace(state, encoder=site.weights())
                current = dataclasses.replace(current, state=state)
            look = site.look_at(state.encoder)

            def curate(
                go_on: Callable[[], None],
                look: Callable[[Rows], Candidates] = look,
                state: RoundState = state,
            ) -> Round:
                def checked(rows: Rows) -> Candidates:
                    go_on()
                    return look(rows)

                return self._curate(site, checked, state)

            with Ahead(curate) as ahead:
                yield current
                current = ahead.result()

    def _curate(
        self, site: Site, look: Callable[[Rows], Candidates], previous: RoundState | None
    ) -> Round:
        index = previous.index + 1 if previous else 0
        num_encoded_before = site.num_encoded() if site.num_encoded else 0
        look = _in_round(look, index)
        sample = calibration_sample(site, index, self.calibration_size)
        curator = site.curator.calibrate(look(sample))
        start = previous.position if previous else 0
        skipping = self._skipping(site, curator, look, previous)
        selection, position, status = scan(
            site,
            skipping or curator,
            look,
            start=start,
            budget=self.curate_every * site.batch_size,
            max_scan=self.max_scan,
        )
        targets = look(selection.rows[:0]).target_features
        statistics: dict[str, float | str] = {
            "status": status,
            "target_drift": drift(site.initial_targets, targets),
        }
        if self.overlap:
            age = len(previous.rows) // site.batch_size if previous else 0
            statistics["encoder_age_steps"] = age
        if skipping:
            statistics |= skipping.statistics(look, draw=_draw(site, index, 4))
        if site.num_encoded:
            statistics["captions_encoded"] = site.num_encoded() - num_encoded_before
        round_ = round_after(previous, site, selection, position=position, statistics=statistics)
        if not skipping:
            return round_
        state = dataclasses.replace(round_.state, last_features=skipping.last)
        return dataclasses.replace(round_, state=state)

    def _skipping(
        self,
        site: Site,
        curator: Curator,
        look: Callable[[Rows], Candidates],
        previous: RoundState | None,
    ) -> SkippingCurator | None:
        if not self.skip_rescoring:
            return None
        last = previous.last_features if previous else None
        skipping = SkippingCurator(
            curator,
            last or LastFeatures.of_no_round(site.num_pairs, site.initial_targets.shape[1]),
            settings=self.skip_rescoring,
        )
        if previous and last:
            num_scanned = previous.position // (previous.index + 1)  # of a round, so far
            ahead = upcoming(site, previous.position, min(num_scanned, self.max_scan))
            skipping.measure(look, ahead, draw=_draw(site, previous.index + 1, 3))
        return skipping


def _in_round(look: Callable[[Rows], Candidates], index: int) -> Callable[[Rows], Candidates]:
    return lambda rows: dataclasses.replace(look(rows), round_index=index)


def _draw(site: Site, round_index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([site.seed, round_index, stream])
