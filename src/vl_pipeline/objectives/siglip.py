"""SigLIP: of each image and each caption of a batch, do the two belong together, yes or no.

No softmax ties the pairs of a batch together. A learned bias starts far below zero, because nearly
all of a batch's n x n answers are no.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vl_pipeline.objectives.objective import Needs, Step

_FIRST_BIAS = -10.0


class SigLip(nn.Module):
    """Binary cross entropy of every image with every caption; the bias is the term's own weight.

    Its logits are similarity / temperature + bias, at the model's temperature.

    Source: Zhai et al., SigLIP (arXiv 2303.15343), section 3.2 and algorithm 1: bias from -10, and
    a temperature from 0.1, which is `model.temperature` here.
    """

    needs = Needs()

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(_FIRST_BIAS))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return sigmoid_loss(
            step.unit_images(), step.unit_texts(), temperature=step.temperature, bias=self.bias
        )


def sigmoid_loss(
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "n d"],
    *,
    temperature: Float[Tensor, ""] | float,
    bias: Float[Tensor, ""] | float,
) -> Float[Tensor, ""]:
    """Answer for each image and each text whether they are a pair.

    Row i of both inputs belongs together; every other combination does not.

    Args:
        images: Unit length, float32.
        texts: Unit length, same order.
        temperature: Positive; cosine similarities are divided by it.
        bias: Added to every logit.

    Returns:
        Mean over images of the sum over texts of -log(chance of the right answer), in nats:
        n * log(2) where every logit is 0.

    Raises:
        ValueError: If the inputs differ in shape.

    Source: SigLIP (arXiv 2303.15343), section 3.2.
    """
    if images.shape != texts.shape:
        raise ValueError(f"images {tuple(images.shape)} and texts {tuple(texts.shape)} differ")
    logits = images @ texts.T / temperature + bias
    answers = 2 * torch.eye(len(images), device=images.device, dtype=images.dtype) - 1
    return -F.logsigmoid(answers * logits).sum() / len(images)
