"""Index the raw shards."""

from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.shards import PoolShards, index_pool


def ingest(shards: PoolShards, scratch: Path) -> tuple[pa.Table, pa.Table, dict[str, object]]:
    """Index every shard; give the pairs, the ledger of the rest, and the accounts."""
    index = index_pool(shards, scratch=scratch)
    accounts: dict[str, object] = {
        "num_listed": index.num_listed,
        "num_kept": index.pairs.num_rows,
        "num_rejected": index.ledger.num_rows,
        "rejected": count_by_rule(index.ledger),
        "num_kept_with_broken_json": index.num_broken_json,
    }
    return index.pairs, index.ledger, accounts
