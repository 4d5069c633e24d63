"""Write a method's set of pairs as shards."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.curation.manifest import digest_of_manifest
from vl_pipeline.data.export import Export, export_pairs, read_set
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards

logger = logging.getLogger(__name__)


def export(pool: pa.Table, sets: Path, shards: PoolShards, parameters: Export) -> dict[str, Any]:
    """Write the shards of the set, and give a report of them."""
    chosen = read_set(sets, parameters)
    counts = export_pairs(
        chosen,
        pool=pool,
        images=PoolImages(pool, shards.folder),
        folder=parameters.place,
        pairs_per_shard=parameters.pairs_per_shard,
    )
    logger.info("%s pairs in %s shards in %s", *list(counts.values())[:2], parameters.place)
    return {
        "method": parameters.method,
        "pairs": parameters.pairs,
        "manifest_digest": digest_of_manifest(chosen),
        **counts,
    }
