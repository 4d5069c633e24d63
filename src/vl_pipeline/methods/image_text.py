"""Image-text: the share of the pool whose image and caption agree best, as a scorer sees it."""

from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="image_text",
    source="https://arxiv.org/abs/2304.14108",
    curator=ImageTextAgreement,
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
