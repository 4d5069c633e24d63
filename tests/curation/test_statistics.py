import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import candidates, sign_vectors, unit
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.statistics import (
    drift,
    hits_per_target,
    jaccard,
    kept_against_threshold,
    normalized_entropy,
    selection_statistics,
)
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode

CURATOR = TargetSimilarity(
    threshold=0.8,
    threshold_mode=ThresholdMode.ABSOLUTE,
    min_keep_fraction=0.0,
    block_size=10,
)


def test_statistics_of_a_scored_selection():
    captions = sign_vectors([0b0, 0b1, 0b11, 0b111, 0b1111])  # 1, 7/8, 6/8, 5/8, 4/8 to target 0
    selection = CURATOR.select(candidates(captions, sign_vectors([0, 0xFFFF, 0xFF00])))

    statistics = selection_statistics(selection, num_targets=3)

    assert pytest.approx(statistics) == {
        "num_scanned": 5,
        "num_kept": 2,
        "keep_fraction": 0.4,
        "kept_by_threshold": 2,
        "kept_by_relaxation": 0,
        "threshold": 0.8,
        "score_q05": 0.525,  # a fifth of the way from the lowest score to the next
        "score_q25": 0.625,
        "score_q50": 0.75,
        "score_q75": 0.875,
        "score_q95": 0.975,
        "num_targets_without_hit": 2,
        "target_entropy": 0.0,
    }


def test_statistics_of_a_selection_without_scores():
    selection = KeepAll().select(candidates(sign_vectors([1, 2]), sign_vectors([0])))

    statistics = selection_statistics(selection, num_targets=1)

    assert statistics == {
        "num_scanned": 2,
        "num_kept": 2,
        "keep_fraction": 1.0,
        "kept_by_all": 2,
    }


def test_statistics_of_a_selection_that_keeps_nothing():
    selection = CURATOR.select(candidates(sign_vectors([0xFFFF]), sign_vectors([0, 0])))

    statistics = selection_statistics(selection, num_targets=2)

    assert 0 == statistics["num_kept"] == statistics["keep_fraction"]
    assert statistics["num_targets_without_hit"] == 2
    assert statistics["target_entropy"] == 0


def test_statistics_of_nothing():
    empty = CURATOR.select(candidates(np.zeros((0, 16), np.float32), sign_vectors([0])))

    statistics = selection_statistics(empty, num_targets=1)

    assert 0 == statistics["num_scanned"] == statistics["keep_fraction"]


def test_hits_count_the_pairs_nearest_to_each_target():
    selection = CURATOR.select(
        candidates(unit([1, 0], [0, 1], [9, 1]), unit([1, 0], [0, 1], [-1, -1]))
    )

    assert hits_per_target(selection, 3).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([5, 5, 5, 5], 1.0),
        ([7, 0, 0], 0.0),
        ([0, 0], 0.0),
        ([3], 0.0),
        ([], 0.0),
        # halves of two out of four: log 2 / log 4
        ([1, 1, 0, 0], 0.5),
        ([3, 1], (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(2)),
    ],
)
def test_entropy_is_one_for_a_flat_histogram_and_zero_for_a_single_peak(counts, expected):
    assert expected == pytest.approx(normalized_entropy(np.array(counts, dtype=np.int64)))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 2], [1, 2], 1.0), ([1, 2], [3], 0.0), ([1, 2, 3], [2, 3, 4], 0.5), ([], [], 1.0)],
)
def test_jaccard_is_the_share_of_the_union_in_both(first, second, expected):
    assert expected == jaccard(np.array(first), np.array(second))


def test_drift_is_zero_for_equal_encodings_and_two_for_opposite_ones():
    texts = unit([1, 0], [3, 4])

    assert pytest.approx(drift(texts, texts), abs=1e-6) == 0
    assert pytest.approx(drift(texts, -texts), abs=1e-6) == 2
    assert pytest.approx(drift(texts, unit([0, 1], [3, 4])), abs=1e-6) == 0.5


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=30),
    st.sampled_from([-1.0, 0.0, 0.25, 0.3, 0.875, 1.0]),
)
def test_curve_over_thresholds_is_what_the_curator_keeps(texts, threshold):
    block = candidates(sign_vectors(texts), sign_vectors([0, 0xFF]))
    curator = TargetSimilarity(
        threshold=threshold,
        threshold_mode=ThresholdMode.ABSOLUTE,
        min_keep_fraction=0.0,
        block_size=100,
    )

    selection = curator.select(block)

    assert [selection.keep.mean()] == kept_against_threshold(selection.score, [threshold])


def test_curve_falls_as_the_threshold_rises():
    score = np.array([0.1, 0.5, 0.5, 0.9], dtype=np.float32)

    assert kept_against_threshold(score, [0, 0.3, 0.5, 0.6, 1]) == [1.0, 0.75, 0.25, 0.25, 0.0]


def test_curve_agrees_with_the_curator_where_a_score_lies_on_the_threshold():
    score = np.array([0.55], dtype=np.float32)  # 0.55000001 in full

    assert [float((score > 0.55).mean())] == kept_against_threshold(score, [0.55])


def test_curve_of_no_scores_is_zero():
    assert kept_against_threshold(np.zeros(0, dtype=np.float32), [0.5]) == [0.0]
