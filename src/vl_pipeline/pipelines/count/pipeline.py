"""How count is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.count.nodes import count


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    inputs = ["indexed_pool", "pool", "params:count", "count_cache"]
    return Pipeline([Node(count, inputs, "counted_pool", name="count")])
