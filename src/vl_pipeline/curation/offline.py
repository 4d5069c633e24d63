"""Ask a curator about a whole pool, with features that do not change."""

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from vl_pipeline.curation.selection import Curator, Selection, concatenate, look_before_training
from vl_pipeline.embedding.store import Embeddings, PairScores

_CANDIDATES_AT_ONCE = 4096
_CALIBRATED_ON = 2**18  # pairs; the whole pool where it is smaller, else evenly spaced ones


def curate_offline(
    curator: Curator, pool: pa.Table, embeddings: Embeddings, pair_scores: PairScores | None = None
) -> Selection:
    """Calibrate a curator on the pool, then let it answer for each pair, in pool order.

    Args:
        curator: Not calibrated yet.
        pool: One row per pair.
        embeddings: Features of its captions.
        pair_scores: For a rule that asks for them.
    """
    look = look_before_training(pool, embeddings, pair_scores)
    rows = np.arange(pool.num_rows)
    calibrated = curator.calibrate(look(rows[:: len(rows) // _CALIBRATED_ON + 1]))
    size = calibrated.block_size or _CANDIDATES_AT_ONCE
    starts = tqdm(range(0, len(rows), size), desc="curate", unit="block", disable=None)
    parts = [calibrated.select(look(rows[start : start + size])) for start in starts]
    return concatenate(parts or [calibrated.select(look(rows))])
