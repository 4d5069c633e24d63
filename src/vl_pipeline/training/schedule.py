"""When pairs are chosen: a schedule yields rounds, and a round is batches to train on.

For a set that was chosen before training a round is an epoch over it. For CiT a round is a
curation with the text tower as it is at that moment, and one pass over what that kept. The loop
sees no difference.
"""

import dataclasses
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float32
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Curator, Selection, concatenate
from vl_pipeline.curation.statistics import drift, jaccard, selection_statistics
from vl_pipeline.data.pool import Rows
from vl_pipeline.errors import CurationError
from vl_pipeline.training.overlap import Ahead
from vl_pipeline.training.rescoring import (
    LastScores,
    SkippingCurator,
    SkipRescoring,
    require_score_and_threshold,
)


@dataclass(frozen=True, kw_only=True)
class RoundState:
    """Where a schedule stands: enough to go on from the middle of a round.

    Attributes:
        index: Number of the round.
        position: How many pairs of the pool's endless traversal were scanned, this round's
            included.
        rows: The pairs this round trains on, in the order in which they were kept.
        last_scores: The last score of each pair; None where all are scored anew.
        encoder: The text trunk's weights when this round began to train; empty where the next
            round does not choose with them.
    """

    index: int
    position: int
    rows: Rows
    last_scores: LastScores | None = None
    encoder: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Round:
    """Batches to train on, and the decision that produced them.

    Attributes:
        state: Where the schedule stands while this round is trained.
        batches: Pool rows of each step.
        selection: What was decided for this round; None where nothing new was decided.
        statistics: Numbers about the decision, empty where nothing new was decided.
    """

    state: RoundState
    batches: list[Rows]
    selection: Selection | None = None
    statistics: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a schedule works with.

    Attributes:
        num_pairs: Rows of the pool.
        curator: Says which candidates to keep.
        look: Turns pool rows into candidates under the encoder as it is now.
        look_before_training: The same under the encoder as it was before training.
        initial_targets: Features of the target texts before training.
        curated: Rows that were kept before training.
        batch_size: Pairs per step.
        seed: Of every order drawn.
        weights: Copies the weights that `look` depends on.
        look_at: As `look`, under weights that `weights` gave.
        num_encoded: Captions that passed the text tower so far; None where nobody counts.
    """

    num_pairs: int
    curator: Curator
    look: Callable[[], Callable[[Rows], Candidates]]
    look_before_training: Callable[[Rows], Candidates]
    initial_targets: Float32[np.ndarray, "targets width"]
    curated: Rows
    batch_size: int
    seed: int
    weights: Callable[[], Mapping[str, np.ndarray]] | None = None
    look_at: Callable[[Mapping[str, np.ndarray]], Callable[[Rows], Candidates]] | None = None
    num_encoded: Callable[[], int] | None = None


class Schedule(Protocol):
    """Says when pairs are chosen. Its fields are its parameters."""

    def rounds(self, site: Site, *, resume: RoundState | None) -> Generator[Round]:
        """Yield rounds without end, or from the middle of the one in `resume`."""
        ...


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EpochsOverCuratedSet:
    """Trains in epochs on the set that the curate stage made."""

    def rounds(self, site: Site, *, resume: RoundState | None) -> Generator[Round]:
        """Yield one shuffled pass over the curated set per round.

        Raises:
            CurationError: If the set is smaller than one batch.
        """
        require_a_batch(len(site.curated), site, "the curated set", site.num_pairs)
        index = resume.index if resume else 0
        while True:
            state = RoundState(index=index, position=0, rows=site.curated)
            yield Round(state=state, batches=shuffled_batches(state, site))
            index += 1


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
        skip_rescoring: When pairs that scored far below the threshold are not scored again; None,
            each pair is scored each time, as CiT does.
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
            statistics |= skipping.statistics(look, seed=site.seed)
        if site.num_encoded:
            statistics["captions_encoded"] = site.num_encoded() - num_encoded_before
        round_ = round_after(previous, site, selection, position=position, statistics=statistics)
        if not skipping:
            return round_
        state = dataclasses.replace(round_.state, last_scores=skipping.last)
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
        last = previous.last_scores if previous else None
        skipping = SkippingCurator(
            curator,
            last or LastScores.of_no_round(site.num_pairs),
            settings=self.skip_rescoring,
            round_index=previous.index + 1 if previous else 0,
        )
        if previous and last:
            num_scanned = previous.position // (previous.index + 1)  # of a round, so far
            upcoming = _upcoming(site, previous.position, min(num_scanned, self.max_scan))
            skipping.measure_drift(look, upcoming, seed=site.seed)
        return skipping


def round_after(
    previous: RoundState | None,
    site: Site,
    selection: Selection,
    *,
    position: int,
    statistics: dict[str, float | str],
) -> Round:
    """Make the round that trains on a selection, and describe it.

    Raises:
        CurationError: If less than one batch is kept.
    """
    rows = selection.kept.rows
    index = previous.index + 1 if previous else 0
    require_a_batch(len(rows), site, f"round {index}", len(selection))
    state = RoundState(index=index, position=position, rows=rows)
    overlap = {"overlap_with_curated_before_training": jaccard(rows, site.curated)}
    if previous:
        overlap["overlap_with_previous_round"] = jaccard(rows, previous.rows)
    return Round(
        state=state,
        batches=shuffled_batches(state, site),
        selection=selection,
        statistics={
            **selection_statistics(selection, num_targets=len(site.initial_targets)),
            **statistics,
            **overlap,
        },
    )


def scan(
    site: Site,
    curator: Curator,
    look: Callable[[Rows], Candidates],
    *,
    start: int,
    budget: int,
    max_scan: int,
) -> tuple[Selection, int, str]:
    """Go through the pool from `start` until `budget` pairs are kept.

    No pair is looked at twice: where a shuffled pass ends and the next one begins within one
    scan, pairs already seen are passed over.

    Returns:
        The selection over all pairs that were looked at, of which those beyond the budget are
        dropped; where the traversal stands; and why it stopped: `filled`, `pool_exhausted` or
        `scan_limit`.
    """
    seen = np.zeros(site.num_pairs, dtype=bool)
    block_size = curator.block_size or site.batch_size
    parts: list[Selection] = []
    num_kept, num_scanned, position = 0, 0, start
    status = "pool_exhausted"
    while num_scanned < site.num_pairs:
        if num_kept >= budget:
            status = "filled"
            break
        if num_scanned >= max_scan:
            status = "scan_limit"
            break
        size = min(block_size, max_scan - num_scanned)
        block = traversal_block(site.num_pairs, position, size, seed=site.seed)
        position += len(block)
        block = block[~seen[block]]
        if not len(block):
            continue
        seen[block] = True
        num_scanned += len(block)
        parts.append(curator.select(look(block)))
        num_kept += int(parts[-1].keep.sum())
    status = "filled" if num_kept >= budget else status
    return _cut_to_budget(concatenate(parts), budget), position, status


def traversal_block(num_pairs: int, position: int, size: int, *, seed: int) -> Rows:
    """Give the next rows of the pool's endless traversal; a block never spans two passes."""
    number, offset = divmod(position, num_pairs)
    return _order_of_pass(num_pairs, number, seed)[offset : offset + size]


@lru_cache(maxsize=1)
def _order_of_pass(num_pairs: int, number: int, seed: int) -> Rows:
    return np.random.default_rng([seed, number, 0]).permutation(num_pairs)


def _upcoming(site: Site, position: int, size: int) -> Rows:
    """Give the pairs that a scan of this size comes to, each once."""
    stop = position + min(size, site.num_pairs)
    blocks = []
    while position < stop:
        blocks.append(traversal_block(site.num_pairs, position, stop - position, seed=site.seed))
        position += len(blocks[-1])
    return np.unique(np.concatenate(blocks))


def _cut_to_budget(selection: Selection, budget: int) -> Selection:
    surplus = selection.keep & (np.cumsum(selection.keep) > budget)
    return dataclasses.replace(
        selection,
        keep=selection.keep & ~surplus,
        reason=np.where(surplus, 0, selection.reason).astype(np.int8),
    )


def _in_round(look: Callable[[Rows], Candidates], index: int) -> Callable[[Rows], Candidates]:
    return lambda rows: dataclasses.replace(look(rows), round_index=index)


def calibration_sample(site: Site, index: int, size: int) -> Rows:
    """Draw the pairs that a round's curator is calibrated on; all of a pool that is no larger."""
    draw = np.random.default_rng([site.seed, index, 1])
    return np.sort(draw.choice(site.num_pairs, size=min(size, site.num_pairs), replace=False))


def shuffled_batches(state: RoundState, site: Site) -> list[Rows]:
    """Cut a round's pairs into batches, shuffled; a last partial batch is left out."""
    order = np.random.default_rng([site.seed, state.index, 2]).permutation(len(state.rows))
    rows = state.rows[order]
    full = len(rows) // site.batch_size * site.batch_size
    return list(rows[:full].reshape(-1, site.batch_size))


def require_a_batch(num_kept: int, site: Site, what: str, num_candidates: int) -> None:
    """Make sure that the pool holds a batch, and that `what` kept one.

    Raises:
        CurationError: If not.
    """
    if site.num_pairs < site.batch_size:
        raise CurationError(
            f"the pool has {site.num_pairs} pairs, fewer than one batch of {site.batch_size}; "
            f"lower training.batch_size (conf/base/parameters_training.yml), loosen "
            f"expectations, or name more shards in pool.shards (conf/base/parameters_pool.yml)"
        )
    if num_kept < site.batch_size:
        raise CurationError(
            f"{what} kept {num_kept} of {num_candidates} candidates, fewer than one batch of "
            f"{site.batch_size}; lower the curator's threshold, raise its min_keep_fraction or "
            f"keep_fraction, or lower training.batch_size"
        )
