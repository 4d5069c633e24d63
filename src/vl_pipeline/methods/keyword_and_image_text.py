"""Keyword and image-text: captions that name a class of the task, as far as the image agrees.

DataComp's strongest baselines intersect two filters, one of them the CLIP score.
"""

from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.curation.intersection import intersection_of
from vl_pipeline.curation.named_in_caption import NamedInCaption
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="keyword_and_image_text",
    source="https://arxiv.org/abs/2304.14108",
    curator=intersection_of(NamedInCaption, ImageTextAgreement),
    schedule=EpochsOverCuratedSet,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
