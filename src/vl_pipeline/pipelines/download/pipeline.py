"""How download is wired: a URL list in, a report out; the shards go where a parameter says."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.download.nodes import download


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    return Pipeline([Node(download, ["params:download"], "download_report", name="download")])
