"""Turn pairs away that break a rule."""

import pyarrow as pa

from vl_pipeline.data.expectations import Expectations, drop_pairs
from vl_pipeline.data.ledger import require_balance
from vl_pipeline.screening.evidence import EVIDENCE_SCHEMA


def screen(
    indexed: pa.Table, ingest_ledger: pa.Table, expectations: Expectations
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Give the pairs that are left, and the ledger of all stages so far, and evidence."""
    kept, rejected = drop_pairs(indexed, expectations)
    require_balance("screen", num_in=indexed.num_rows, num_kept=kept.num_rows, ledger=rejected)
    return kept, pa.concat_tables([ingest_ledger, rejected]), EVIDENCE_SCHEMA.empty_table()
