"""ALIGN: a few rules about how often things occur in place of cleaning, and a large batch.

What is kept is decided by counting over the raw data: images that are too small, images and
captions that are everywhere, captions of rare words. The rest is noise that scale is to outweigh.
Towers (EfficientNet and BERT, from scratch), temperature and optimiser are its own.
"""

from vl_pipeline.curation.column_rules import ColumnRules
from vl_pipeline.method import Method
from vl_pipeline.objectives.summed_contrastive import SummedContrastive
from vl_pipeline.training.schedule import EpochsOverCuratedSet

METHOD = Method(
    name="align",
    source="https://arxiv.org/abs/2102.05918",
    curator=ColumnRules,
    schedule=EpochsOverCuratedSet,
    objective=SummedContrastive,
    own=("model", "text_start", "training"),
)
