"""SigLIP's loss in plain loops, as its paper writes it (arXiv 2303.15343, section 3.2)."""

import math

from tests.reference.contrastive import Vectors


def sigmoid_loss(images: Vectors, texts: Vectors, *, t: float, b: float) -> float:
    """-1 / |B| sum_i sum_j log(1 / (1 + exp(z_ij (-t x_i . y_j + b)))), with -b for b.

    The paper writes + b beside - t x . y; its algorithm 1 adds the bias to t x . y, and starts it
    at -10. This is the algorithm's sign.
    """
    total = 0.0
    for i, x in enumerate(images):
        for j, y in enumerate(texts):
            z = 1 if i == j else -1
            similarity = sum(p * q for p, q in zip(x, y, strict=True))
            total += math.log(1 / (1 + math.exp(z * (-t * similarity - b))))
    return -total / len(images)
