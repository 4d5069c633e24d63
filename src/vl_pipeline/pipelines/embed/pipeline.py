"""How embed is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.embed.nodes import embed


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    inputs = ["pool", "params:tasks", "params:model", "params:text_start", "text_start_cache"]
    return Pipeline([Node(embed, inputs, ["tokens", "text_start", "embeddings"], name="embed")])
