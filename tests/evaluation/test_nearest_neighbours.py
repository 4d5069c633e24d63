import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import sign_vectors
from vl_pipeline.evaluation.nearest_neighbours import (
    NearestNeighbours,
    nearest_neighbour_metrics,
)


def measure(images, labels, labelled, of_labelled, *, num_voters=1, temperature=None) -> dict:
    settings = NearestNeighbours(
        labelled_split="val", num_voters=num_voters, temperature=temperature
    )
    return nearest_neighbour_metrics(
        sign_vectors(images),
        np.array(labels),
        sign_vectors(labelled),
        np.array(of_labelled),
        settings,
    )


# To the image 0, labelled images 0b1, 0b111, 0b1111 have the similarities 7/8, 5/8, 4/8.
LABELLED, OF_LABELLED = [0b1111, 0b111, 0b1], [1, 1, 0]


def test_the_nearest_image_decides_alone_and_is_outvoted_by_two_others() -> None:
    alone = measure([0], [0], LABELLED, OF_LABELLED)
    voted = measure([0], [0], LABELLED, OF_LABELLED, num_voters=3)

    assert alone["knn_top1"] == 1
    assert voted["knn_top1"] == 0


def test_a_weighted_vote_counts_near_images_more() -> None:
    # e^(7/8 / t) against e^(5/8 / t) + e^(4/8 / t): equal at about t = 0.43
    cold, warm = (
        measure([0], [0], LABELLED, OF_LABELLED, num_voters=3, temperature=t) for t in (0.4, 0.47)
    )

    assert (cold["knn_top1"], warm["knn_top1"]) == (1, 0)


def test_recall_asks_whether_the_label_is_among_the_nearest() -> None:
    labelled = [0b1, 0b11, 0b111, 0b1111, 0b11111, 0b111111]

    found = measure([0], [5], labelled, [0, 1, 2, 3, 5, 5])
    absent = measure([0], [9], labelled, [0, 1, 2, 3, 5, 5])

    assert [found[f"knn_recall_at_{k}"] for k in (1, 5, 10)] == [0, 1, 1]
    assert [absent[f"knn_recall_at_{k}"] for k in (1, 5, 10)] == [0, 0, 0]
    assert found["num_labelled_images"] == 6


def test_of_equal_votes_the_one_with_the_nearest_image_wins() -> None:
    assert measure([0], [0], LABELLED, [1, 2, 0], num_voters=3)["knn_top1"] == 1
    # of images equally near the first
    assert measure([0], [4], [0b10, 0b1], [4, 7])["knn_top1"] == 1


def test_a_temperature_near_zero_leaves_the_nearest_image_alone() -> None:
    voted = measure([0], [0], LABELLED, OF_LABELLED, num_voters=3, temperature=1e-6)

    assert voted["knn_top1"] == 1


@given(
    images=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=8),
    labelled=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=8),
    num_voters=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_the_vote_is_that_of_a_plain_count(images, labelled, num_voters, seed) -> None:
    draw = np.random.default_rng(seed)
    labels, of_labelled = draw.integers(0, 3, len(images)), draw.integers(0, 3, len(labelled))

    found = measure(images, labels, labelled, of_labelled, num_voters=num_voters)

    right = []
    for vector, label in zip(sign_vectors(images), labels, strict=True):
        order = np.argsort(-(sign_vectors(labelled) @ vector), kind="stable")[:num_voters]
        voters = of_labelled[order].tolist()
        right.append(max(voters, key=lambda v: (voters.count(v), -voters.index(v))) == label)
    assert found["knn_top1"] == pytest.approx(np.mean(right))


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="an image to classify and a labelled one"):
        measure([], [], LABELLED, OF_LABELLED)
    with pytest.raises(ValueError, match="an image to classify and a labelled one"):
        measure([0], [0], [], [])
