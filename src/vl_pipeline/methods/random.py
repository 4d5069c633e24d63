"""A random subset of the pool at an equal budget: the row every curation is read against.

It is CiT with a coin in the curator's place: same objective, same frozen parts, same pairs seen.
"""

from vl_pipeline.curation.random_subset import RandomSubset
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="random",
    source="https://arxiv.org/abs/2304.14108",  # DataComp's random-subset baseline
    curator=RandomSubset,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
