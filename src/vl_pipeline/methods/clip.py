"""CLIP on every pair of the pool: what training costs and gives without curation."""

from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="clip",
    source="https://arxiv.org/abs/2103.00020",
    curator=KeepAll,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
)
