"""InfoNCE: the one kernel under every contrastive term."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, arange


def info_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    *,
    temperature: Float[Tensor, ""] | float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Pick each query's own key among all keys: cross entropy of a softmax over similarities.

    Row i of both inputs belongs together; the other n - 1 keys are query i's negatives. The
    softmax is inside the cross entropy and nowhere else: taking it twice bounds the loss from
    below by log(1 + (n - 1) / e) and starves the gradient.

    Args:
        queries: Unit length, float32.
        keys: Unit length, same order.
        temperature: Positive; cosine similarities are divided by it.
        label_smoothing: Probability spread evenly over all n keys, in [0, 1).

    Returns:
        Mean over queries, in nats. log(n) when every similarity is the same.

    Raises:
        ValueError: If the inputs differ in shape, or `label_smoothing` is outside [0, 1).

    Source: van den Oord, Li, Vinyals (arXiv 1807.03748), eq. 4.
    """
    require_alike(queries, keys, label_smoothing)
    logits = queries @ keys.T / temperature
    own = arange(len(queries), device=queries.device)
    return F.cross_entropy(logits, own, label_smoothing=label_smoothing)


def require_alike(
    queries: Float[Tensor, "n d"], keys: Float[Tensor, "n d"], label_smoothing: float
) -> None:
    """Check what every contrastive kernel asks of its arguments.

    Raises:
        ValueError: If the inputs differ in shape, or `label_smoothing` is outside [0, 1).
    """
    if queries.shape != keys.shape:
        raise ValueError(f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} differ")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it lies in [0, 1)")
