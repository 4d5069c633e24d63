import numpy as np
import pytest

from vl_pipeline.data.tasks import ClassificationTask
from vl_pipeline.evaluation.evaluate import evaluate_classification
from vl_pipeline.evaluation.zero_shot import (
    confusion_matrix,
    per_class_table,
    predict,
    zero_shot_metrics,
)

CLASSES = ["cat", "dog", "owl"]


def unit(*rows):
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(images, weights, labels):
    _, ranks = predict(images, weights, labels)
    return zero_shot_metrics(ranks, labels, num_classes=len(weights))


def test_perfect_embeddings_are_all_right():
    weights = np.eye(6, dtype=np.float32)
    labels = np.array([5, 0, 3, 3, 1, 2, 4])

    metrics = measure(weights[labels], weights, labels)

    assert metrics == {
        "zero_shot_top1": 1.0,
        "zero_shot_top5": 1.0,
        "mean_per_class_recall": 1.0,
        "chance": 1 / 6,
        "num_images": 7,
    }


def test_top5_counts_the_five_nearest_classes():
    weights = np.eye(7, dtype=np.float32)
    image = unit([7, 6, 5, 4, 3, 2, 1])

    found = [measure(image, weights, np.array([c]))["zero_shot_top5"] for c in range(7)]

    assert found == [1, 1, 1, 1, 1, 0, 0]


def test_top5_of_three_classes_is_one():
    images = unit([1, 0, 0], [1, 0, 0])

    assert measure(images, np.eye(3, dtype=np.float32), np.array([1, 2]))["zero_shot_top5"] == 1.0


def test_equal_similarities_go_to_the_first_class():
    images = np.tile(np.float32([1, 0]), (4, 1))
    weights = np.tile(np.float32([1, 0]), (3, 1))
    labels = np.array([0, 1, 2, 2])

    predictions, ranks = predict(images, weights, labels)

    assert predictions.tolist() == [0, 0, 0, 0]
    assert ranks.tolist() == [0, 1, 2, 2]


def test_permuting_the_classes_leaves_the_metrics_unchanged():
    draw = np.random.default_rng(0)
    images, weights = unit(*draw.normal(size=(200, 8))), unit(*draw.normal(size=(9, 8)))
    labels = draw.integers(9, size=200)
    order = draw.permutation(9)

    permuted = measure(images, weights[order], np.argsort(order)[labels])

    assert permuted == pytest.approx(measure(images, weights, labels))


def test_mean_per_class_recall_averages_over_the_classes_that_have_an_image():
    ranks, labels = np.array([0, 0, 0, 1, 0]), np.array([0, 0, 0, 0, 1])

    metrics = zero_shot_metrics(ranks, labels, num_classes=3)

    assert metrics["zero_shot_top1"] == 4 / 5
    assert metrics["mean_per_class_recall"] == (3 / 4 + 1 / 1) / 2


def test_confusion_counts_true_classes_in_rows():
    confusion = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 0, 0, 2]), num_classes=3)

    assert confusion.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_the_per_class_table_names_the_most_frequent_mistake():
    confusion = np.array([[1, 2, 1], [0, 0, 0], [0, 0, 4]])

    assert per_class_table(confusion, CLASSES).to_pylist() == [
        _row("cat", 4, 1 / 4, "dog"),
        _row("dog", 0, None, None),
        _row("owl", 4, 1.0, None),
    ]


def test_a_nan_embedding_is_an_error_and_not_a_score():
    images = unit([1, 0], [0, 1])
    images[1, 0] = np.nan

    with pytest.raises(ValueError, match="1 of 2 embeddings are not finite, the first is row 1"):
        predict(images, np.eye(2, dtype=np.float32), np.array([0, 1]))


def test_nothing_to_classify_is_an_error():
    with pytest.raises(ValueError, match="without images"):
        zero_shot_metrics(np.array([], int), np.array([], int), num_classes=3)


def test_a_task_is_scored_with_its_own_names_and_templates():
    axes = dict(zip(CLASSES, np.eye(3, dtype=np.float32), strict=True))
    task = ClassificationTask(
        name="animals",
        images=[b""] * 3,
        labels=np.array([0, 1, 1]),
        class_names=CLASSES,
        templates=["{c}", "a {c}"],
    )

    result = evaluate_classification(
        task, np.eye(3, dtype=np.float32), lambda texts: np.stack([axes[t[-3:]] for t in texts])
    )

    assert result.metrics["zero_shot_top1"] == 2 / 3
    assert result.metrics["mean_per_class_recall"] == 3 / 4
    assert result.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert result.per_class["most_frequent_wrong_answer"].to_pylist() == [None, "owl", None]
    assert (result.name, result.class_names) == ("animals", ("cat", "dog", "owl"))


def _row(name, num_images, recall, wrong):
    return {
        "class": name,
        "num_images": num_images,
        "recall": recall,
        "most_frequent_wrong_answer": wrong,
    }
