"""Score how well image and caption of each pair agree."""

from functools import partial
from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.embedding.pair_scorer import PairScorer, score_pool
from vl_pipeline.embedding.store import fill_pair_scores
from vl_pipeline.models.device import choose_device


def score(pool: pa.Table, shards: PoolShards, scorer: PairScorer, cache: Path) -> Writer:
    """Give a writer of the pairs' scores."""
    images = PoolImages(pool, shards.folder)
    scores = score_pool(pool, images, scorer, device=choose_device(), cache=cache)
    return partial(fill_pair_scores, pair_scores=scores, pool=pool)
