"""How train is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.method import Method
from vl_pipeline.pipelines.train.nodes import train_with


def create_pipeline(method: Method) -> Pipeline:
    """Wire the stage for one method, without its namespace."""
    inputs = {
        "pool": "pool",
        "tokens": "tokens",
        "text_start": "text_start",
        "embeddings": "embeddings",
        "curated": "curated_pairs",
        "shards": "params:pool",
        "tasks": "params:tasks",
        "model": "params:model",
        "training": "params:training",
        "curator": "params:curation",
        "schedule": "params:schedule",
        "objective": "params:objective",
        "scratch": "scratch",
    }
    inputs |= {"pair_scores": "pair_scores"} if method.needs_pair_scores else {}
    outputs = [
        "checkpoint",
        "history",
        "rounds",
        "validation_curve",
        "trained_pairs",
        "training_report",
        "training_figures",
    ]
    return Pipeline([Node(train_with(method), inputs, outputs, name="train")])
