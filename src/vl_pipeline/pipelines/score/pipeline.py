"""How score is wired."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.score.nodes import score


def create_pipeline() -> Pipeline:
    """Wire the stage; methods whose curator reads pair scores contain it."""
    inputs = ["pool", "params:pool", "params:pair_scorer", "pair_scores_cache"]
    return Pipeline([Node(score, inputs, "pair_scores", name="score")])
