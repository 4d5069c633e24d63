"""How the embedded pool is wired: parameters in, a folder out."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.fabricate.nodes import fabricate


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    return Pipeline(
        [Node(fabricate, ["params:fabricated_pool"], "fabricated_pool", name="fabricate")]
    )
