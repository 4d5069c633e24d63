"""Count images, captions and words over the raw pool, for rules that ask how often they occur."""

from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.columns_beside import with_columns_of
from vl_pipeline.data.counts import Counting, count_raw_pairs, with_counts

_PAIRS_AT_ONCE = 65_536


def count(raw: pa.Table, pool: pa.Table, counting: Counting, scratch: Path) -> pa.Table:
    """Give the pool with what was counted over the raw pairs, and with columns of others."""
    batches = raw.select(["uid", "caption", counting.image]).to_batches(_PAIRS_AT_ONCE)
    counted = with_counts(pool, count_raw_pairs(batches, counting, scratch=scratch))
    return with_columns_of(counted, Path(counting.columns)) if counting.columns else counted
