"""How screen is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.screen.nodes import screen


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    inputs = [
        "indexed_pool",
        "ingest_ledger",
        "params:expectations",
        "params:screening",
        "params:pool",
        "params:tasks",
        "screening_cache",
    ]
    outputs = ["screened_pool", "ledger", "screening_evidence", "screening_report"]
    return Pipeline([Node(screen, inputs, outputs, name="screen")])
