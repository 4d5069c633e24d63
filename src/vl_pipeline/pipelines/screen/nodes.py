"""Turn pairs away that break a rule, are blocked, leak, or repeat a picture."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.expectations import Expectations, drop_pairs
from vl_pipeline.data.ledger import require_balance
from vl_pipeline.data.shards import PoolShards
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.screening.parameters import Screening
from vl_pipeline.screening.screen import screen_pool


def screen(
    indexed: pa.Table,
    ingest_ledger: pa.Table,
    expectations: Expectations,
    screening: Screening,
    pool: PoolShards,
    tasks: Tasks,
    cache: Path,
) -> tuple[pa.Table, pa.Table, pa.Table, dict[str, Any]]:
    """Give the pairs that are left, the ledger of all stages so far, evidence, and a report."""
    kept, rejected = drop_pairs(indexed, expectations)
    screened = screen_pool(kept, screening, folder=pool.folder, tasks=tasks, cache=cache)
    ledger = pa.concat_tables([rejected, screened.ledger])
    num_kept = screened.pairs.num_rows
    require_balance("screen", num_in=indexed.num_rows, num_kept=num_kept, ledger=ledger)
    ledger = pa.concat_tables([ingest_ledger, ledger])
    return screened.pairs, ledger, screened.evidence, screened.report
