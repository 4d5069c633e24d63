"""Zero-shot classification: an image belongs to the class whose described name is nearest.

A class is described by every template, and its weight is the mean of the descriptions' embeddings
scaled to unit length. An image's answer is the class of largest cosine similarity.

Source: CLIP (arXiv 2103.00020) section 3.1.4; CiT evaluates the same way (clipeval/).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from vl_pipeline.evaluation.ranking import rank_of, similarity_blocks


def predict(
    image_embeddings: Float32[np.ndarray, "n d"],
    weights: Float32[np.ndarray, "classes d"],
    labels: Int64[np.ndarray, " n"],
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Classify each image; of equally similar classes the first wins.

    Args:
        image_embeddings: Unit length.
        weights: Unit length, one row per class.
        labels: True class of each image.

    Returns:
        The predicted class, and the rank of the true class (0 where the prediction is right).

    Raises:
        ValueError: If an embedding is not finite.
    """
    predictions = np.empty(len(image_embeddings), dtype=np.int64)
    ranks = np.empty(len(image_embeddings), dtype=np.int64)
    for rows, similarity in similarity_blocks(image_embeddings, weights):
        predictions[rows] = similarity.argmax(axis=1)
        ranks[rows] = rank_of(labels[rows], similarity)
    return predictions, ranks


def zero_shot_metrics(
    ranks: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], *, num_classes: int
) -> dict[str, float]:
    """Summarise a classification.

    Args:
        ranks: Rank of each image's true class, from 0.
        labels: True class of each image.
        num_classes: Classes an image could have been given.

    Returns:
        `zero_shot_top1`, `zero_shot_top5` (1 where there are five classes or fewer),
        `mean_per_class_recall` over the classes that have an image, `chance` (the expected top-1
        of a guess), all in [0, 1]; and `num_images`.

    Raises:
        ValueError: If there is no image.
    """
    if not len(ranks):
        raise ValueError("a classification without images has no accuracy")
    num_images = np.bincount(labels, minlength=num_classes)
    num_right = np.bincount(labels[ranks == 0], minlength=num_classes)
    present = num_images > 0
    return {
        "zero_shot_top1": float((ranks < 1).mean()),
        "zero_shot_top5": float((ranks < 5).mean()),
        "mean_per_class_recall": float((num_right[present] / num_images[present]).mean()),
        "chance": 1 / num_classes,
        "num_images": len(ranks),
    }


def confusion_matrix(
    predictions: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], *, num_classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Count images by true class (row) and predicted class (column)."""
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def per_class_table(
    confusion: Int64[np.ndarray, "classes classes"], class_names: Sequence[str]
) -> pa.Table:
    """Write one row per class, in order.

    Returns:
        `class`, `num_images`, `recall` (null for a class without images), and
        `most_frequent_wrong_answer` (null for a class without mistakes; the first of equals).
    """
    num_images = confusion.sum(axis=1)
    wrong = confusion - np.diag(np.diag(confusion))
    answers = np.array(class_names, dtype=object)[wrong.argmax(axis=1)]
    return pa.table(
        {
            "class": pa.array(class_names, pa.string()),
            "num_images": num_images,
            "recall": pa.array(
                np.diag(confusion) / np.maximum(1, num_images), mask=num_images == 0
            ),
            "most_frequent_wrong_answer": pa.array(
                answers, pa.string(), mask=wrong.sum(axis=1) == 0
            ),
        }
    )
