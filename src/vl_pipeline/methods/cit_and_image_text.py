"""CiT and image-text: what CiT's rule keeps in its rounds, as far as the image agrees.

CiT compares captions with texts and cannot see a wrong image.
"""

from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.curation.intersection import intersection_of
from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.curate_during_training import CurateDuringTraining

METHOD = Method(
    name="cit_and_image_text",
    source="https://arxiv.org/abs/2301.02241",
    curator=intersection_of(TargetSimilarity, ImageTextAgreement),
    schedule=CurateDuringTraining,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
