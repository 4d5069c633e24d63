"""Ask a method's curator about the whole pool, before any training."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.curation.dropped import ledger_of_drops
from vl_pipeline.curation.manifest import manifest_of
from vl_pipeline.curation.offline import curate_offline
from vl_pipeline.curation.report import curation_report, draw_curation
from vl_pipeline.data.shards import PoolShards
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.embedding.store import read_embeddings, read_pair_scores
from vl_pipeline.method import Method

Outputs = tuple[pa.Table, pa.Table, dict[str, Any], list[dict[str, float]], Writer]


def curate_with(method: Method) -> Callable[..., Outputs]:
    """Build the node of one method."""

    def curate(
        pool: pa.Table,
        embeddings: Path,
        shards: PoolShards,
        curator: method.curator,
        pair_scores: Path | None = None,
    ) -> Outputs:
        """Give manifest, drops by rule, statistics, threshold curve and figures of a curation."""
        encoded = read_embeddings(embeddings, pool=pool)
        scores = read_pair_scores(pair_scores, pool=pool) if pair_scores else None
        selection = curate_offline(curator, pool, encoded, scores)
        texts = encoded.target_texts
        manifest = manifest_of(selection, pool=pool, target_texts=texts, round_index=0)
        report, curve = curation_report(selection, manifest, target_texts=texts)
        figures = partial(
            draw_curation,
            selection=selection,
            pool=pool,
            shards_folder=shards.folder,
            target_texts=texts,
        )
        return manifest, ledger_of_drops(selection, pool=pool), report, curve, figures

    return curate
