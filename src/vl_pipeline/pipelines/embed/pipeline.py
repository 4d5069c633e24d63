"""How embed is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.embed.nodes import embed_with


def create_pipeline(*, encode_captions: bool = True) -> Pipeline:
    """Wire the stage: the shared one encodes captions, a method's own where its curator asks."""
    inputs = ["pool", "params:tasks", "params:model", "params:text_start", "text_start_cache"]
    outputs = ["tokens", "text_start", "embeddings"]
    node = embed_with(encode_captions=encode_captions)
    return Pipeline([Node(node, inputs, outputs, name="embed")])
