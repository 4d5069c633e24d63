"""ALIGN's objective: both directions of a contrastive loss, added up, with smoothed labels."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import Tensor

from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.hard_negatives import hard_negative_nce, lowest_smoothed_loss
from vl_pipeline.objectives.info_nce import info_nce
from vl_pipeline.objectives.objective import Needs, Objective, Step


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SummedContrastive:
    """Images pick captions and captions pick images; the sum of the two.

    Attributes:
        label_smoothing: Probability spread evenly over a batch's candidates, in [0, 1).
        alpha: Weight of the own key in the softmax's denominator; towards 0 it is decoupled.
        beta: How much the negatives that are most alike count more than the others; 0 not at all.
        mask_repeated_captions: Whether batch mates with the same caption are no negatives.

    Source: ALIGN (arXiv 2102.05918) section 4.1, where alpha is 1, beta 0 and nothing masked.
    """

    label_smoothing: Annotated[float, Ge(0), Lt(1)]
    alpha: Annotated[float, Gt(0)]
    beta: Annotated[float, Ge(0)]
    mask_repeated_captions: bool

    def build(self, model: DualEncoder, *, seed: int) -> Objective:
        """Give the objective; it has no weights of its own, so model and seed do not matter."""
        return Objective({"contrastive": (1.0, BothDirections(self))})


class BothDirections:
    """Each image picks its caption and each caption its image; the sum of the two.

    Swapping the modalities leaves the loss unchanged.
    """

    def __init__(self, settings: SummedContrastive) -> None:
        """Take the settings."""
        self._settings = settings
        self.needs = Needs(captions=settings.mask_repeated_captions)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        images, texts = step.unit_images(), step.unit_texts()
        return self._pick(images, texts, step) + self._pick(texts, images, step)

    def floor(self, step: Step) -> Float[Tensor, ""]:
        """Give the least that the smoothed labels leave of the loss, in nats."""
        repeated = self._repeated(step)
        num_pairs, device = len(step.text_embeddings), step.text_embeddings.device
        num_keys = torch.full((num_pairs,), float(num_pairs), device=device)
        if repeated is not None:
            num_keys = num_keys - repeated.sum(dim=1) + 1
        return 2 * lowest_smoothed_loss(
            num_keys,
            label_smoothing=self._settings.label_smoothing,
            alpha=self._settings.alpha,
        )

    def _pick(self, queries: Tensor, keys: Tensor, step: Step) -> Float[Tensor, ""]:
        settings, repeated = self._settings, self._repeated(step)
        smoothing = settings.label_smoothing
        if settings.alpha == 1 and settings.beta == 0 and repeated is None:
            return info_nce(queries, keys, temperature=step.temperature, label_smoothing=smoothing)
        return hard_negative_nce(
            queries,
            keys,
            temperature=step.temperature,
            label_smoothing=smoothing,
            alpha=settings.alpha,
            beta=settings.beta,
            ignore=repeated,
        )

    def _repeated(self, step: Step) -> Bool[Tensor, "n n"] | None:
        """Which pairs of the batch have the same caption, each with itself included."""
        if not self._settings.mask_repeated_captions:
            return None
        assert step.captions is not None
        return step.captions[:, None] == step.captions
