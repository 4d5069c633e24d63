"""Balanced: pairs whose caption names a class, capped per class, as MetaCLIP does it."""

from vl_pipeline.curation.balanced_keywords import BalancedKeywords
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="balanced",
    source="https://arxiv.org/abs/2309.16671",
    curator=BalancedKeywords,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
