"""Contrastive terms: images and captions of one batch find each other.

CiT trains in one direction only, CLIP averages both.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import Tensor

from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.info_nce import info_nce
from vl_pipeline.objectives.objective import Needs, Objective, Step


class ImageToText:
    """Each image picks its caption among the batch's captions.

    Source: CiT (arXiv 2301.02241) section 3; the caption's own choice of image is not trained.
    """

    needs = Needs()

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        return info_nce(step.unit_images(), step.unit_texts(), temperature=step.temperature)


class Symmetric:
    """Each image picks its caption and each caption its image; the mean of the two.

    Swapping the modalities leaves the loss unchanged.

    Source: Radford et al., CLIP (arXiv 2103.00020), figure 3.
    """

    needs = Needs()

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        images, texts = step.unit_images(), step.unit_texts()
        to_text = info_nce(images, texts, temperature=step.temperature)
        to_image = info_nce(texts, images, temperature=step.temperature)
        return (to_text + to_image) / 2


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Contrastive:
    """Images and captions of a batch find each other, and nothing else is asked of them.

    Attributes:
        direction: `image_to_text` is CiT's loss, `symmetric` CLIP's.
    """

    direction: Literal["image_to_text", "symmetric"]

    def build(self, model: DualEncoder, *, seed: int) -> Objective:
        """Give the objective; it has no weights of its own, so model and seed do not matter."""
        if self.direction == "image_to_text":
            return Objective({"image_to_text": (1.0, ImageToText())})
        return Objective({"contrastive": (1.0, Symmetric())})
