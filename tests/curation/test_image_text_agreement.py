import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import candidates, scored, unit
from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.errors import CurationError

SCORES = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), max_size=30)
FRACTIONS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])


def keeping(fraction: float) -> ImageTextAgreement:
    return ImageTextAgreement(keep_fraction=fraction)


def test_the_best_share_of_the_pool_is_kept():
    selection = keeping(0.5).select(scored([0.1, 0.4, -0.2, 0.3, 0.2]))

    # floor(0.5 * 5) = 2 are kept; the third best, 0.2, is the border
    assert selection.keep.tolist() == [False, True, False, True, False]
    assert selection.threshold == pytest.approx(0.2)
    assert selection.count_by_reason() == {"dropped": 3, "agreement": 2}
    assert selection.nearest_target.tolist() == [-1] * 5


def test_pairs_that_tie_across_the_border_are_all_dropped():
    selection = keeping(0.5).select(scored([0.5, 0.25, 0.25, 0.0]))

    assert selection.keep.tolist() == [True, False, False, False]


def test_pairs_that_tie_within_the_share_are_all_kept():
    selection = keeping(0.5).select(scored([0.25, 0.25, 0.0, -0.5]))

    assert selection.keep.tolist() == [True, True, False, False]


@given(SCORES, FRACTIONS)
def test_at_most_the_share_is_kept_and_nothing_kept_scores_less_than_what_is_dropped(
    scores, fraction
):
    selection = keeping(fraction).select(scored(scores))

    assert len(selection.kept) <= int(fraction * len(scores))
    assert sum(selection.count_by_reason().values()) == len(scores)
    dropped = selection.score[~selection.keep]
    if len(dropped) and selection.keep.any():
        assert selection.kept.score.min() > dropped.max()


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=30, unique=True), FRACTIONS)
def test_without_ties_exactly_the_share_is_kept(numbers, fraction):
    selection = keeping(fraction).select(scored([number / 100 for number in numbers]))

    assert int(fraction * len(numbers)) == len(selection.kept)


def test_all_and_none():
    assert keeping(1.0).select(scored([-1.0, 0.0, 1.0])).keep.all()
    assert not keeping(0.0).select(scored([-1.0, 0.0, 1.0])).keep.any()
    assert np.isfinite(keeping(1.0).select(scored([0.3, 0.3])).threshold)


def test_a_sample_does_not_move_the_border():
    scores = np.linspace(-1, 1, 40)
    rule = keeping(0.3)

    from_sample = rule.calibrate(scored(scores, rows=[0, 1, 2]))

    assert rule.calibrate(scored(scores)) == from_sample
    assert len(from_sample.select(scored(scores)).kept) == 12


def test_empty_block_is_answered():
    assert len(keeping(0.5).select(scored([]))) == 0
    assert len(keeping(0.5).select(scored([0.5, 0.1], rows=[]))) == 0


def test_a_pool_without_scores_is_an_error_that_says_who_makes_them():
    with pytest.raises(CurationError, match="the stage score makes them"):
        keeping(0.5).select(candidates(unit([1, 0]), unit([1, 0])))
