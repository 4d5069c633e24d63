"""Keyword: pairs whose caption names a class of the task, word for word.

It needs no model, and a curation that does not beat it has no use for one.
"""

from vl_pipeline.curation.named_in_caption import NamedInCaption
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="keyword",
    source="https://arxiv.org/abs/2304.14108",
    curator=NamedInCaption,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
