import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vl_pipeline.data.tasks import RetrievalTask
from vl_pipeline.evaluation.evaluate import evaluate_retrieval
from vl_pipeline.evaluation.ranking import rank_of, similarity_blocks
from vl_pipeline.evaluation.retrieval import retrieval_metrics


def literal_recall(similarity, is_own, k):
    """Sort each row's candidates, the earlier first among equals, and look at the first k."""
    found = 0
    for row, own in zip(similarity, is_own, strict=True):
        order = sorted(range(len(row)), key=lambda place: (-row[place], place))
        found += any(own[place] for place in order[:k])
    return found / len(similarity)


@st.composite
def retrievals(draw):
    """Embeddings of halves, so that similarities are exact and ties are common."""
    num_images = draw(st.integers(1, 15))
    extra = draw(st.lists(st.integers(0, num_images - 1), max_size=15))
    image_of_caption = np.array(draw(st.permutations([*range(num_images), *extra])))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    halves = [
        (random.integers(-2, 3, size=(n, 3)) / 2).astype(np.float32)
        for n in (num_images, len(image_of_caption))
    ]
    return *halves, image_of_caption


@given(retrievals())
@settings(deadline=None)
def test_recall_equals_the_literal_definition(retrieval):
    images, captions, image_of_caption = retrieval
    similarity = images @ captions.T
    is_own = image_of_caption == np.arange(len(images))[:, None]

    metrics = retrieval_metrics(images, captions, image_of_caption)

    for k in (1, 5, 10):
        forward = literal_recall(similarity, is_own, k)
        backward = literal_recall(similarity.T, is_own.T, k)
        assert metrics[f"image_to_text_recall_at_{k}"] == pytest.approx(forward)
        assert metrics[f"text_to_image_recall_at_{k}"] == pytest.approx(backward)


def test_perfect_embeddings_find_everything_first():
    images = np.eye(12, dtype=np.float32)
    image_of_caption = np.repeat(np.arange(12), 5)

    metrics = retrieval_metrics(images, images[image_of_caption], image_of_caption)

    assert {value for name, value in metrics.items() if "_to_" in name} == {1.0}
    assert (metrics["num_images"], metrics["num_captions"]) == (12, 60)
    assert metrics["chance_recall_at_1"] == 1 / 12


def test_any_of_an_images_captions_may_be_found():
    images = np.eye(2, dtype=np.float32)
    captions = np.float32([[0, 1], [1, 0], [0, 1]])  # the first describes image 0 badly

    metrics = retrieval_metrics(images, captions, np.array([0, 0, 1]))

    assert metrics["image_to_text_recall_at_1"] == 1 / 2  # image 1 finds the bad caption first
    assert metrics["text_to_image_recall_at_1"] == 2 / 3


def test_a_collapsed_model_is_at_chance():
    images = np.tile(np.float32([1, 0]), (20, 1))

    metrics = retrieval_metrics(images, images, np.arange(20))

    assert metrics["image_to_text_recall_at_1"] == metrics["chance_recall_at_1"] == 1 / 20
    assert metrics["text_to_image_recall_at_10"] == 10 / 20


def test_the_size_of_a_block_does_not_change_ranks():
    random = np.random.default_rng(0)
    queries, candidates = (random.integers(-3, 4, (n, 4)).astype(np.float32) for n in (23, 9))
    places = random.integers(9, size=23)

    ranks = [
        np.concatenate(
            [
                rank_of(places[rows], similarity)
                for rows, similarity in similarity_blocks(
                    queries, candidates, similarities_at_once=size
                )
            ]
        )
        for size in (1, 40, 10_000)
    ]

    np.testing.assert_array_equal(ranks[0], ranks[1])
    np.testing.assert_array_equal(ranks[0], ranks[2])


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_nan_embedding_is_an_error_and_not_a_score(damaged):
    embeddings = [np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)]
    embeddings[damaged][2, 1] = np.nan

    with pytest.raises(ValueError, match="the first is row 2"):
        retrieval_metrics(*embeddings, np.arange(3))


def test_an_image_without_caption_is_an_error():
    images = np.eye(3, dtype=np.float32)

    with pytest.raises(ValueError, match="image 1 has no caption; 1 of 3 have none"):
        retrieval_metrics(images, images, np.array([0, 0, 2]))


def test_no_image_is_an_error():
    nothing = np.zeros((0, 2), dtype=np.float32)

    with pytest.raises(ValueError, match="without images"):
        retrieval_metrics(nothing, nothing, np.array([], int))


def test_a_task_matches_captions_to_the_image_they_came_with():
    task = RetrievalTask(name="pairs", images=[b"", b""], captions=[["x"], ["y", "y again"]])
    axes = {"x": [1, 0], "y": [0, 1]}

    result = evaluate_retrieval(
        task, np.eye(2, dtype=np.float32), lambda texts: np.float32([axes[t[0]] for t in texts])
    )

    assert result.metrics["image_to_text_recall_at_1"] == 1.0
    assert result.metrics["text_to_image_recall_at_1"] == 1.0
    assert result.metrics["num_captions"] == 3
    assert (result.per_class, result.confusion, result.class_names) == (None, None, ())
