"""Contrastive terms: images and captions of one batch find each other.

CiT trains in one direction only, CLIP averages both, SigLIP asks of each combination by itself.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from annotated_types import Ge
from jaxtyping import Float
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import Tensor

from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.diversity import Diversity, covariance, uniformity
from vl_pipeline.objectives.info_nce import info_nce
from vl_pipeline.objectives.objective import Needs, Objective, Step, Term
from vl_pipeline.objectives.siglip import SigLip


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
    """Images and captions of a batch find each other, and keep apart where that is asked for.

    Attributes:
        loss: `image_to_text` is CiT's, `symmetric` CLIP's, `siglip` SigLIP's.
        uniformity_weight: Of `diversity.uniformity`, beside 1 for the loss; 0 leaves it out.
        covariance_weight: Of `diversity.covariance`, beside 1 for the loss; 0 leaves it out.
    """

    loss: Literal["image_to_text", "symmetric", "siglip"]
    uniformity_weight: Annotated[float, Ge(0)] = 0.0
    covariance_weight: Annotated[float, Ge(0)] = 0.0

    def build(self, model: DualEncoder, *, seed: int) -> Objective:
        """Give the objective; its only weight, SigLIP's bias, depends on neither model nor seed."""
        diversity: dict[str, tuple[float, Term]] = {
            "uniformity": (self.uniformity_weight, Diversity(uniformity)),
            "covariance": (self.covariance_weight, Diversity(covariance)),
        }
        asked = {name: term for name, term in diversity.items() if term[0]}
        name, term = _LOSSES[self.loss]
        return Objective({name: (1.0, term()), **asked})


_LOSSES: dict[str, tuple[str, Callable[[], Term]]] = {
    "image_to_text": ("image_to_text", ImageToText),
    "symmetric": ("contrastive", Symmetric),
    "siglip": ("siglip", SigLip),
}
"""Name of the term in reports, and the term."""
