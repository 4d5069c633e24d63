"""A URL list downloaded into shards by img2dataset, in passes that may be interrupted."""

from vl_pipeline.data.download.parameters import Download
from vl_pipeline.data.download.run import download

__all__ = ["Download", "download"]
