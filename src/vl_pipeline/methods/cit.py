"""CiT: the text encoder that is being trained picks the pairs it is trained on.

Every few steps the current text tower compares the captions of fresh pool pairs with the texts of
a task, keeps those that are close, and trains on exactly these. As training goes on the tower's
idea of closeness improves, and the choice with it. The image trunk is frozen where it is
pretrained: it gives the texts something fixed to align with.
"""

from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.method import Method
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.curate_during_training import CurateDuringTraining

METHOD = Method(
    name="cit",
    source="https://arxiv.org/abs/2301.02241",
    curator=TargetSimilarity,
    schedule=CurateDuringTraining,
    objective=Contrastive,
    frozen=("image_tower.trunk",),
)
