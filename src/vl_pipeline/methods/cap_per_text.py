"""Cap per text: CiT's rule, asked once, with a cap on what each target text contributes."""

from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="cap_per_text",
    source="https://arxiv.org/abs/2301.02241",
    curator=TargetSimilarity,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
