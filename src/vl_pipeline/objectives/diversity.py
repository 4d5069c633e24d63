"""Diversity: embeddings of one modality keep apart, so that they do not collapse.

Both terms look at directions only, and so pull no embedding longer or shorter. Each is the mean of
its value on images and on texts.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vl_pipeline.objectives.objective import Needs, Step

_SHARPNESS = 2.0  # t of Wang and Isola


class Diversity:
    """A measure of crowding, on the batch's images and on its texts."""

    needs = Needs()

    def __init__(self, measure: Callable[[Float[Tensor, "n d"]], Float[Tensor, ""]]) -> None:
        """Take `uniformity` or `covariance`."""
        self._measure = measure

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        return (self._measure(step.unit_images()) + self._measure(step.unit_texts())) / 2


def uniformity(vectors: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Log of the mean of exp(-2 |x - y|^2) over pairs of different rows.

    Args:
        vectors: Unit length; two rows at least.

    Returns:
        0 where all rows are equal, -4 where they are orthogonal, -4 n / (n - 1) for a simplex, the
        least that n <= d + 1 rows can reach.

    Source: Wang, Isola (arXiv 2005.10242), section 4.1.2, t = 2.
    """
    n = len(vectors)
    others = ~torch.eye(n, dtype=torch.bool, device=vectors.device)
    squared_distance = 2 - 2 * (vectors @ vectors.T)[others]  # of unit vectors
    return torch.logsumexp(-_SHARPNESS * squared_distance, dim=0) - math.log(n * (n - 1))


def covariance(vectors: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Squared covariances of different coordinates, summed, per coordinate.

    A coordinate of a unit vector has a mean square of 1 / d; coordinates are taken times sqrt(d),
    so that the measure does not shrink with d. It keeps coordinates from saying the same; it does
    not drive embeddings apart that crowd around one point, since nothing varies there.

    Args:
        vectors: Unit length; two rows at least.

    Returns:
        0 where coordinates are uncorrelated.

    Source: Bardes, Ponce, LeCun, VICReg (arXiv 2105.04906), eq. 3 and 4.
    """
    n, d = vectors.shape
    centred = (vectors - vectors.mean(dim=0)) * math.sqrt(d)
    matrix = centred.T @ centred / (n - 1)
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    return off_diagonal.square().sum() / d
