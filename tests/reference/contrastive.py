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
