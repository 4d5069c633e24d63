"""Pools whose truth is known: their pictures, and which pairs are right for a task."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from parameters import pair_limits

from vl_pipeline.data.shards import PoolShards, index_pool
from vl_pipeline.screening.pictures import Pictures

SCRATCH = Path("data/scratch/ingest")


def pictures_of(pool: Path) -> Pictures:
    """Index a folder of tars."""
    shards = PoolShards(folder=str(pool), shards="*.tar", limits=pair_limits(), num_workers=1)
    return Pictures(index_pool(shards, scratch=SCRATCH).pairs)


def right_uids(pool: pa.Table, truth: Path, task: str, known: str) -> set[str]:
    """Give the uids of pairs that are right for `task`.

    Args:
        pool: One row per pair.
        truth: Table with `key`, `labels` (the tasks a picture belongs to), `original_caption` and
            `caption_matches_image`.
        task: Name of the task.
        known: `pairs` that show a class of the task and whose caption matches; or `captions`: those
            whose caption alone says so, whatever the image shows.
    """
    rows = {row["key"]: row for row in pq.read_table(truth).to_pylist()}
    pairs = pool.select(["uid", "key", "caption"]).to_pylist()
    relevant = {key for key, row in rows.items() if task in (row["labels"] or "")}
    matching = {
        p["uid"] for p in pairs if p["key"] in relevant and rows[p["key"]]["caption_matches_image"]
    }
    if known == "pairs":
        return matching
    captions = {p["caption"] for p in pairs if p["uid"] in matching}
    captions |= {rows[key]["original_caption"] for key in relevant}
    return {p["uid"] for p in pairs if p["caption"] in captions}
