"""Ask a curator about a whole pool, with features that do not change."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from vl_pipeline.curation.selection import Candidates, Curator, Selection, concatenate
from vl_pipeline.data.pool import Rows

_CANDIDATES_AT_ONCE = 4096
_CALIBRATED_ON = 2**18  # pairs; the whole pool where it is smaller, else evenly spaced ones


def curate_offline(
    curator: Curator, look: Callable[[Rows], Candidates], *, num_pairs: int
) -> Selection:
    """Calibrate a curator on the pool, then let it answer for each pair, in pool order.

    Args:
        curator: Not calibrated yet.
        look: Turns pool rows into candidates.
        num_pairs: Rows of the pool.
    """
    rows = np.arange(num_pairs)
    calibrated = curator.calibrate(look(rows[:: len(rows) // _CALIBRATED_ON + 1]))
    size = calibrated.block_size or _CANDIDATES_AT_ONCE
    starts = tqdm(range(0, len(rows), size), desc="curate", unit="block", disable=None)
    parts = [calibrated.select(look(rows[start : start + size])) for start in starts]
    return concatenate(parts or [calibrated.select(look(rows))])
