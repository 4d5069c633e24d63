"""How curate is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.method import Method
from vl_pipeline.pipelines.curate.nodes import curate_with


def create_pipeline(method: Method) -> Pipeline:
    """Wire the stage for one method, without its namespace."""
    inputs = ["pool", "embeddings", "params:pool", "params:curation"]
    inputs += ["pair_scores"] if method.needs_pair_scores else []
    outputs = [
        "curated_pairs",
        "curation_ledger",
        "curation_report",
        "threshold_curve",
        "curation_figures",
    ]
    return Pipeline([Node(curate_with(method), inputs, outputs, name="curate")])
