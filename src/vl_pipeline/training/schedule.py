"""When pairs are chosen: a schedule yields rounds, and a round is batches to train on.

For a set that was chosen before training a round is an epoch over it. For CiT a round is a
curation with the text tower as it is at that moment, and one pass over what that kept. The loop
sees no difference.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float32
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.curation.selection import Candidates, Curator, Selection
from vl_pipeline.curation.statistics import jaccard, selection_statistics
from vl_pipeline.data.pool import Rows
from vl_pipeline.errors import CurationError
from vl_pipeline.training.forecast import LastFeatures


@dataclass(frozen=True, kw_only=True)
class RoundState:
    """Where a schedule stands: enough to go on from the middle of a round.

    Attributes:
        index: Number of the round.
        position: How many pairs of the pool's endless traversal were scanned, this round's
            included.
        rows: The pairs this round trains on, in the order in which they were kept.
        last_features: What each pair's caption was last encoded to; None where all are scored anew.
        encoder: The text trunk's weights when this round began to train; empty where the next
            round does not choose with them.
    """

    index: int
    position: int
    rows: Rows
    last_features: LastFeatures | None = None
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
