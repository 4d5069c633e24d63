"""Pairs must go: which checkpoints saw them?"""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.affected.nodes import affected


def create_pipeline() -> Pipeline:
    """Build the stage."""
    inputs = ["tracked_checkpoints", "params:affected"]
    return Pipeline([Node(affected, inputs, "affected", name="affected")])
