"""Uniformity and covariance in plain loops, as their papers write them."""

import math

from tests.reference.contrastive import Vectors


def uniformity(vectors: Vectors, *, t: float) -> float:
    """Log of the mean over i < j of exp(-t |x_i - x_j|^2) (arXiv 2005.10242, figure 5)."""
    total, pairs = 0.0, 0
    for i in range(len(vectors)):
        for j in range(i):
            squared = sum((a - b) ** 2 for a, b in zip(vectors[i], vectors[j], strict=True))
            total += math.exp(-t * squared)
            pairs += 1
    return math.log(total / pairs)


def covariance(vectors: Vectors) -> float:
    """1 / d times the sum over i != j of C(Z)_ij^2 (arXiv 2105.04906, eq. 3 and 4)."""
    n, d = len(vectors), len(vectors[0])
    mean = [sum(z[k] for z in vectors) / n for k in range(d)]
    total = 0.0
    for i in range(d):
        for j in range(d):
            if i != j:
                entry = sum((z[i] - mean[i]) * (z[j] - mean[j]) for z in vectors) / (n - 1)
                total += entry**2
    return total / d
