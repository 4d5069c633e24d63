"""LAMB in plain loops (You et al., arXiv 1904.00962, algorithm 2), for one tensor."""

import math
from collections.abc import Sequence

EPSILON = 1e-6


class Lamb:
    """The weights of one tensor, and the moments of its gradient."""

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)
        self._mean = [0.0] * len(weights)
        self._square = [0.0] * len(weights)
        self._num_steps = 0

    def step(
        self,
        gradient: Sequence[float],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        weight_decay: float,
        is_rescaled: bool,
    ) -> None:
        """Move by the update, scaled to the weights' norm where `is_rescaled`; in place."""
        self._num_steps += 1
        update = []
        for i, g in enumerate(gradient):
            self._mean[i] = beta1 * self._mean[i] + (1 - beta1) * g
            self._square[i] = beta2 * self._square[i] + (1 - beta2) * g * g
            mean = self._mean[i] / (1 - beta1**self._num_steps)
            square = self._square[i] / (1 - beta2**self._num_steps)
            adam = mean / (math.sqrt(square) + EPSILON)
            update.append(adam + weight_decay * self.weights[i])
        ratio = 1.0
        if is_rescaled:
            ratio = math.hypot(*self.weights) / math.hypot(*update)
        self.weights = [
            w - learning_rate * ratio * u for w, u in zip(self.weights, update, strict=True)
        ]
