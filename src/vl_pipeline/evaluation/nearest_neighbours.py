"""Nearest neighbours: an image has the label of the labelled images that lie closest to it.

Only the image tower is measured: no text, no prompt and nothing trained on the labels.

Source: ALIGN (arXiv 2102.05918) section 6.1 asks whether the true label is among those of the K
nearest; the weighted vote is that of Wu et al. (arXiv 1805.01978) section 3.4.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt
from jaxtyping import Float32, Float64, Int64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.evaluation.ranking import rank_of, similarity_blocks

NEIGHBOUR_RECALL_AT = (1, 5, 10)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NearestNeighbours:
    """Which images carry the labels, and how they vote.

    Attributes:
        labelled_split: Of each classification task; another than the one that is evaluated.
        num_voters: Nearest labelled images that vote; all of them where there are fewer.
        temperature: A vote weighs exp(cosine similarity / temperature); None weighs all alike.
    """

    labelled_split: Literal["train", "val", "test"]
    num_voters: Annotated[int, Gt(0)]
    temperature: Annotated[float, Gt(0)] | None


def nearest_neighbour_metrics(
    image_embeddings: Float32[np.ndarray, "n d"],
    labels: Int64[np.ndarray, " n"],
    labelled_embeddings: Float32[np.ndarray, "m d"],
    labels_of_labelled: Int64[np.ndarray, " m"],
    settings: NearestNeighbours,
) -> dict[str, float]:
    """Measure how often neighbours have an image's label.

    Args:
        image_embeddings: Unit length.
        labels: Of the images.
        labelled_embeddings: Unit length.
        labels_of_labelled: Of these.
        settings: How they vote.

    Returns:
        `knn_top1`, the share of images whose label wins the vote (of equals the one with the
        nearest image); `knn_recall_at_<k>` for k = 1, 5, 10, the share with an image of their label
        among the k nearest; `num_labelled_images`.

    Raises:
        ValueError: If there is no image of either kind, or an embedding is not finite.
    """
    if not len(image_embeddings) or not len(labelled_embeddings):
        raise ValueError("nearest neighbours need an image to classify and a labelled one")
    num_images, num_voters = len(labels), min(settings.num_voters, len(labels_of_labelled))
    winners, ranks = np.empty(num_images, dtype=np.int64), np.empty(num_images, dtype=np.int64)
    for rows, similarity in similarity_blocks(image_embeddings, labelled_embeddings):
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :num_voters]
        weights = _weights(np.take_along_axis(similarity, nearest, axis=1), settings.temperature)
        winners[rows] = _winners(labels_of_labelled[nearest], weights)
        is_own = labels_of_labelled == labels[rows][:, None]
        best = np.where(is_own, similarity, -np.inf).argmax(axis=1)
        found = rank_of(best, similarity)
        ranks[rows] = np.where(is_own.any(axis=1), found, np.iinfo(np.int64).max)
    return {
        "knn_top1": float((winners == labels).mean()),
        **{f"knn_recall_at_{k}": float((ranks < k).mean()) for k in NEIGHBOUR_RECALL_AT},
        "num_labelled_images": len(labels_of_labelled),
    }


def _weights(
    similarity: Float32[np.ndarray, "n k"], temperature: float | None
) -> Float64[np.ndarray, "n k"]:
    if temperature is None:
        return np.ones(similarity.shape)
    nearest = similarity[:, :1]  # subtracted, so that no exponential overflows
    return np.exp((similarity - nearest).astype(np.float64) / temperature)


def _winners(
    labels: Int64[np.ndarray, "n k"], weights: Float64[np.ndarray, "n k"]
) -> Int64[np.ndarray, " n"]:
    """Give the label of most weight in each row; of equals the one that comes first."""
    rows = np.arange(len(labels))
    by_class = np.zeros((len(labels), labels.max() + 1))
    np.add.at(by_class, (rows[:, None], labels), weights)
    return labels[rows, np.take_along_axis(by_class, labels, axis=1).argmax(axis=1)]
