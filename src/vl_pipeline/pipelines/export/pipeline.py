"""How export is wired: the pool and a set of it in, a report out; shards go where a parameter says.

The set is chosen by parameters, so the input is the folder of all sets.
"""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.export.nodes import export


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    inputs = ["pool", "curated_sets", "params:pool", "params:export"]
    return Pipeline([Node(export, inputs, "export_report", name="export")])
