"""How ingest is wired: shards in, index and ledger out."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.ingest.nodes import ingest


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    outputs = ["indexed_pool", "ingest_ledger", "ingest_accounts"]
    return Pipeline([Node(ingest, ["params:pool", "ingest_cache"], outputs, name="ingest")])
