import numpy as np
import pytest

from tests.fakes import candidates, unit
from vl_pipeline.curation.selection import Candidates, Selection, concatenate, unscored


def selection(rows: list[int], keep: list[bool]) -> Selection:
    return Selection(
        rows=np.array(rows),
        keep=np.array(keep, dtype=bool),
        score=np.array(rows, dtype=np.float32) / 10,
        nearest_target=np.array(rows, dtype=np.int32) % 2,
        reason=np.array(keep, dtype=np.int8),
        reasons=("dropped", "threshold"),
        threshold=0.5,
    )


def test_kept_is_the_part_that_is_kept_in_order():
    kept = selection([5, 3, 9], [True, False, True]).kept

    assert kept.rows.tolist() == [5, 9]
    assert pytest.approx(kept.score.tolist()) == [0.5, 0.9]
    assert kept.nearest_target.tolist() == [1, 1]
    assert kept.threshold == 0.5


def test_part_of_a_selection_keeps_its_columns_together():
    part = selection([5, 3, 9], [True, False, True])[1:]

    assert part.rows.tolist() == [3, 9]
    assert part.keep.tolist() == [False, True]
    assert part.reason.tolist() == [0, 1]


def test_counts_by_reason_add_up():
    counts = selection([5, 3, 9], [True, False, True]).count_by_reason()

    assert counts == {"dropped": 1, "threshold": 2}


def test_reason_that_never_occurs_is_counted_as_zero():
    assert selection([5], [False]).count_by_reason() == {"dropped": 1, "threshold": 0}
    assert selection([], []).count_by_reason() == {"dropped": 0, "threshold": 0}


def test_joined_parts_are_in_order():
    joined = concatenate([selection([5], [True]), selection([], []), selection([3], [False])])

    assert joined.rows.tolist() == [5, 3]
    assert joined.keep.tolist() == [True, False]
    assert joined.reasons == ("dropped", "threshold")


def test_joining_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def test_joining_answers_of_two_curators_is_refused():
    other = unscored(np.array([1]), np.array([True]), reason="all")

    with pytest.raises(ValueError, match="one curator"):
        concatenate([selection([5], [True]), other])


def test_answer_without_scores_has_none():
    answer = unscored(np.array([7, 8]), np.array([True, False]), reason="all")

    assert np.isnan(answer.score).all()
    assert answer.nearest_target.tolist() == [-1, -1]
    assert answer.count_by_reason() == {"dropped": 1, "all": 1}
    assert answer.threshold is None


def test_features_are_encoded_once_and_only_when_asked_for():
    asked: list[list[int]] = []

    def encode(rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return unit([1, 0], [0, 1])

    block = Candidates(
        rows=np.array([4, 2]),
        pool=candidates(unit([1, 0]), unit([1, 0])).pool,
        target_texts=[],
        encode_captions=encode,
        encode_targets=lambda: unit([1, 0]),
    )
    assert len(block) == 2
    assert asked == []

    first, second = block.caption_features, block.caption_features

    assert first is second
    assert asked == [[4, 2]]
