"""How evaluate is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.evaluate.nodes import evaluate


def create_pipeline() -> Pipeline:
    """Wire the stage, without a method's namespace."""
    inputs = ["checkpoint", "params:tasks", "params:evaluation"]
    outputs = ["metrics", "per_class", "evaluation_figures"]
    return Pipeline([Node(evaluate, inputs, outputs, name="evaluate")])
