"""Go through a pool without end, in shuffled passes, and look at as much of it as a round needs."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from vl_pipeline.curation.selection import Candidates, Curator, Selection, concatenate
from vl_pipeline.data.pool import Rows
from vl_pipeline.training.schedule import Site


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


def upcoming(site: Site, position: int, size: int) -> Rows:
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


def calibration_sample(site: Site, index: int, size: int) -> Rows:
    """Draw the pairs that a round's curator is calibrated on; all of a pool that is no larger."""
    draw = np.random.default_rng([site.seed, index, 1])
    return np.sort(draw.choice(site.num_pairs, size=min(size, site.num_pairs), replace=False))
