"""InfoNCE with weighted negatives, and with batch mates that are no negatives."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vl_pipeline.objectives.info_nce import require_alike


def hard_negative_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    *,
    temperature: Float[Tensor, ""] | float,
    label_smoothing: float,
    alpha: float,
    beta: float,
    ignore: Bool[Tensor, "n n"] | None = None,
) -> Float[Tensor, ""]:
    """Pick each query's own key, where the negatives that look most like it count most.

    Query i's own key has the weight `alpha` in its softmax's denominator, and each negative j has
    w_ij = m_i exp(beta s_ij) / sum_k exp(beta s_ik), s being similarity / temperature and k running
    over its m_i negatives: the weights of a row have the mean 1. Alpha 1 and beta 0 are InfoNCE.
    The gradient is that of the whole formula, weights included.

    Args:
        queries: Unit length, float32.
        keys: Unit length, same order.
        temperature: Positive; cosine similarities are divided by it.
        label_smoothing: Probability spread evenly over a query's own key and its negatives, [0, 1).
        alpha: Positive.
        beta: 0 weighs all negatives alike; a larger one favours those that are most alike.
        ignore: Which keys (columns) are no negatives of a query (row); its own key always counts.

    Returns:
        Mean over queries, in nats.

    Raises:
        ValueError: If the inputs differ in shape, or `label_smoothing` is outside [0, 1).

    Source: Radenovic et al. (arXiv 2301.02280), eq. 4; smoothing is over its log-probabilities.
    """
    require_alike(queries, keys, label_smoothing)
    logits = queries @ keys.T / temperature
    own = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    negative = ~own if ignore is None else ~own & ~ignore
    num_negatives = negative.sum(dim=1, keepdim=True).to(logits.dtype)
    # -inf where there is no negative, but for a row without any, whose weights nobody reads
    scores = (beta * logits).masked_fill(~negative & (num_negatives > 0), -math.inf)
    log_weights = scores.log_softmax(dim=1) + num_negatives.clamp(min=1).log()
    weighted = torch.where(negative, logits + log_weights, -math.inf)
    denominator = torch.where(own, logits + math.log(alpha), weighted).logsumexp(dim=1)
    log_own = logits.diagonal() - denominator
    log_negatives = torch.where(negative, weighted - denominator[:, None], 0.0)
    spread = label_smoothing / (1 + num_negatives.squeeze(1))
    loss = -(1 - label_smoothing) * log_own - spread * (log_own + log_negatives.sum(dim=1))
    return loss.mean()


def lowest_smoothed_loss(
    num_keys: Float[Tensor, " n"], *, label_smoothing: float, alpha: float = 1.0
) -> Float[Tensor, ""]:
    """Give the least that smoothed labels leave: the mean entropy of the labels themselves.

    Args:
        num_keys: Keys that each query chooses from, its own included.
        label_smoothing: As in the loss.
        alpha: As in the loss; its logarithm is added for the share of the own key.

    Returns:
        Nats; 0 without smoothing where alpha is 1.
    """
    spread = label_smoothing / num_keys
    own = 1 - label_smoothing + spread
    entropy = -torch.special.xlogy(own, own) - (num_keys - 1) * torch.special.xlogy(spread, spread)
    return (entropy + own * math.log(alpha)).mean()
