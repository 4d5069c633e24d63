"""Offline: CiT's rule, asked once with the text tower as it was before training.

What CiT gains by asking again while the tower learns is the difference to this.
"""

from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="offline",
    source="https://arxiv.org/abs/2301.02241",
    curator=TargetSimilarity,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
