"""InfoNCE in plain loops: the mean of -log p, p being a softmax written out."""

import math
from collections.abc import Sequence

Vectors = Sequence[Sequence[float]]


def info_nce(
    queries: Vectors, keys: Vectors, *, temperature: float, label_smoothing: float = 0.0
) -> float:
    """Mean over queries of -sum_j t_j log p_j; t is 1 for the own key, then smoothed."""
    n = len(queries)
    total = 0.0
    for i, query in enumerate(queries):
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / temperature for key in keys
        ]
        normalizer = sum(math.exp(s) for s in similarity)
        for j, s in enumerate(similarity):
            wanted = (1 - label_smoothing) * (i == j) + label_smoothing / n
            total -= wanted * math.log(math.exp(s) / normalizer)
    return total / n


def softmax_taken_twice(queries: Vectors, keys: Vectors, *, temperature: float) -> float:
    """The well-known mistake: a softmax, then a cross entropy that takes another one."""
    total = 0.0
    for i, query in enumerate(queries):
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / temperature for key in keys
        ]
        normalizer = sum(math.exp(s) for s in similarity)
        p = [math.exp(s) / normalizer for s in similarity]
        total -= math.log(math.exp(p[i]) / sum(math.exp(value) for value in p))
    return total / len(queries)


def hard_negative_nce(
    queries: Vectors,
    keys: Vectors,
    *,
    temperature: float,
    alpha: float,
    beta: float,
    label_smoothing: float = 0.0,
    captions: Sequence[int] | None = None,
) -> float:
    """HN-NCE written out: mean of -log p, p with alpha and weights in its denominator.

    Pairs of equal number in `captions` are no negatives of each other.
    """
    captions = captions or range(len(queries))
    total = 0.0
    for i, query in enumerate(queries):
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / temperature for key in keys
        ]
        negatives = [j for j in range(len(keys)) if captions[j] != captions[i]]
        mass = sum(math.exp(beta * similarity[j]) for j in negatives)
        weight = {j: len(negatives) * math.exp(beta * similarity[j]) / mass for j in negatives}
        denominator = alpha * math.exp(similarity[i])
        denominator += sum(weight[j] * math.exp(similarity[j]) for j in negatives)
        spread = label_smoothing / (1 + len(negatives))
        own = math.log(math.exp(similarity[i]) / denominator)
        total -= (1 - label_smoothing + spread) * own
        for j in negatives:
            total -= spread * math.log(weight[j] * math.exp(similarity[j]) / denominator)
    return total / len(queries)
