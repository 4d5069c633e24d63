"""How cit_sweep is wired."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.cit_sweep.nodes import compare, run
from vl_pipeline.sweep.plan import OWN_BLOCKS

NAME = "cit_sweep"


def create_pipeline(methods: Sequence[str]) -> Pipeline:
    """Wire the stages; a sweep may take any of `methods`, so it reads the parameters of all."""
    inputs = {
        "pool": "pool",
        "tokens": "tokens",
        "text_start": "text_start",
        "embeddings": "embeddings",
        "shards": "params:pool",
        "tasks": "params:tasks",
        "model": "params:model",
        "training": "params:training",
        "evaluation": "params:evaluation",
        "sweep": f"params:{NAME}",
        "scratch": f"{NAME}.scratch",
        **{f"{m}.{block}": f"params:{m}.{block}" for m in methods for block in OWN_BLOCKS},
    }
    compared = [f"{NAME}.cells", f"params:{NAME}", "params:tasks", "params:evaluation"]
    outputs = [f"{NAME}.{output}" for output in ("metrics", "table", "report", "figures")]
    return Pipeline(
        [
            Node(run, inputs, f"{NAME}.cells", name="run", namespace=NAME),
            Node(compare, compared, outputs, name="compare", namespace=NAME),
        ]
    )
