import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import candidates, sign_vectors, site, unit
from tests.reference.cit_curation import curation_round
from vl_pipeline.curation import target_similarity
from vl_pipeline.curation.target_similarity import (
    TargetSimilarity,
    ThresholdMode,
    between_scores,
    max_similarity,
)
from vl_pipeline.training.scan import scan, traversal_block

# Vectors of signs: similarities are multiples of 1/8, so ties and scores on a threshold are common.
TEXTS = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=30)
TARGETS = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=5)
THRESHOLDS = st.sampled_from([-1.0, -0.25, 0.0, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0])
FRACTIONS = st.sampled_from([0.0, 0.003, 0.1, 0.25, 0.5, 1.0])


def curator(
    *,
    threshold: float = 0.5,
    threshold_mode: str = "absolute",
    min_keep_fraction: float = 0.0,
    block_size: int = 100,
) -> TargetSimilarity:
    return TargetSimilarity(
        threshold=threshold,
        threshold_mode=ThresholdMode(threshold_mode),
        min_keep_fraction=min_keep_fraction,
        block_size=block_size,
    )


def test_score_is_the_similarity_to_the_nearest_target():
    captions = unit([1, 0], [0, 1], [1, 1], [-1, 0])
    targets = unit([1, 0], [3, 4])

    selection = curator(threshold=0.9).select(candidates(captions, targets))

    # [0, 1] . [0.6, 0.8] = 0.8; [1, 1] / sqrt 2 . [0.6, 0.8] = 1.4 / sqrt 2 = 0.9899
    assert pytest.approx(selection.score.tolist(), abs=1e-6) == [1.0, 0.8, 1.4 / 2**0.5, -0.6]
    assert selection.nearest_target.tolist() == [0, 1, 1, 1]
    assert selection.keep.tolist() == [True, False, True, False]
    assert selection.count_by_reason() == {"dropped": 2, "threshold": 2, "relaxation": 0}


def test_score_on_the_threshold_does_not_pass():
    captions = sign_vectors([0b0000, 0b0001, 0b0011])  # similarities to target 0: 1, 7/8, 6/8

    selection = curator(threshold=0.875).select(candidates(captions, sign_vectors([0])))

    assert selection.score.tolist() == [1.0, 0.875, 0.75]
    assert selection.keep.tolist() == [True, False, False]


def test_first_of_equally_near_targets_is_named():
    selection = curator().select(candidates(unit([1, 0]), unit([0, 1], [1, 0], [1, 0])))

    assert selection.nearest_target.tolist() == [1]


def test_best_of_the_block_are_kept_where_too_few_pass():
    captions = sign_vectors([0b0111, 0b0001, 0b1111, 0b0000, 0b0011])  # 5/8, 7/8, 4/8, 1, 6/8

    selection = curator(threshold=0.9, min_keep_fraction=0.7).select(
        candidates(captions, sign_vectors([0]))
    )

    # one of five passes, less than 70 %: the best floor(3.5) = 3 are kept instead
    assert selection.keep.tolist() == [False, True, False, True, True]
    assert selection.count_by_reason() == {"dropped": 2, "threshold": 1, "relaxation": 2}


def test_nothing_is_relaxed_where_exactly_enough_pass():
    captions = sign_vectors([0, 0, 0b1, 0b11])

    selection = curator(threshold=0.9, min_keep_fraction=0.5).select(
        candidates(captions, sign_vectors([0]))
    )

    assert selection.count_by_reason() == {"dropped": 2, "threshold": 2, "relaxation": 0}


def test_ties_are_relaxed_in_the_order_of_the_block():
    captions = sign_vectors([0b1, 0b10, 0b100, 0b1000])  # 7/8 each

    selection = curator(threshold=0.9, min_keep_fraction=0.5).select(
        candidates(captions, sign_vectors([0]))
    )

    assert selection.keep.tolist() == [True, True, False, False]


def test_ties_pass_or_fail_together():
    captions = sign_vectors([0b1] * 5)

    assert curator(threshold=0.87).select(candidates(captions, sign_vectors([0]))).keep.all()
    assert not curator(threshold=0.88).select(candidates(captions, sign_vectors([0]))).keep.any()


def test_block_too_small_for_one_relaxed_pair_keeps_none():
    # CiT's k = int(gamma * n) is 0 for n < 1 / gamma
    selection = curator(threshold=1.0, min_keep_fraction=0.003).select(
        candidates(sign_vectors([0b1] * 333), sign_vectors([0]))
    )

    assert not selection.keep.any()


def test_empty_block_is_answered():
    captions = np.zeros((0, 16), dtype=np.float32)

    selection = curator(min_keep_fraction=0.5).select(candidates(captions, sign_vectors([0])))

    assert len(selection) == 0
    assert selection.count_by_reason() == {"dropped": 0, "threshold": 0, "relaxation": 0}


@pytest.mark.parametrize(("threshold", "keeps"), [(0.5, True), (1.0, False)])
def test_one_pair_is_judged_alone(threshold, keeps):
    selection = curator(threshold=threshold).select(
        candidates(sign_vectors([0]), sign_vectors([0]))
    )

    assert [keeps] == selection.keep.tolist()


@given(TEXTS, TARGETS)
def test_threshold_of_minus_one_keeps_all_but_exact_opposites(texts, targets):
    block = candidates(sign_vectors(texts), sign_vectors(targets))

    selection = curator(threshold=-1.0).select(block)

    assert (selection.keep == (selection.score > -1)).all()


@given(TEXTS, TARGETS)
def test_threshold_of_one_without_relaxation_keeps_none(texts, targets):
    block = candidates(sign_vectors(texts), sign_vectors(targets))

    assert not curator(threshold=1.0).select(block).keep.any()


def test_threshold_of_one_keeps_none_though_rounding_lifts_a_cosine_over_it():
    captions = unit(*np.random.default_rng(0).normal(size=(200, 48)))

    assert not curator(threshold=1.0).select(candidates(captions, captions)).keep.any()


@given(TEXTS, TARGETS, THRESHOLDS, FRACTIONS, st.randoms(use_true_random=False))
def test_order_and_repetition_of_targets_do_not_change_scores_or_choice(
    texts, targets, threshold, fraction, random
):
    rule = curator(threshold=threshold, min_keep_fraction=fraction)
    shuffled = targets + random.choices(targets, k=3)
    random.shuffle(shuffled)

    first = rule.select(candidates(sign_vectors(texts), sign_vectors(targets)))
    second = rule.select(candidates(sign_vectors(texts), sign_vectors(shuffled)))

    assert (first.score == second.score).all()
    assert (first.keep == second.keep).all()
    assert (first.reason == second.reason).all()


@given(TEXTS, TARGETS, THRESHOLDS, FRACTIONS)
def test_relaxed_choice_contains_the_passing_one_and_is_no_smaller_than_asked(
    texts, targets, threshold, fraction
):
    block = candidates(sign_vectors(texts), sign_vectors(targets))

    strict = curator(threshold=threshold).select(block)
    relaxed = curator(threshold=threshold, min_keep_fraction=fraction).select(block)

    assert (relaxed.keep | ~strict.keep).all()
    assert relaxed.keep.sum() >= int(fraction * len(texts))
    assert relaxed.keep.sum() == max(strict.keep.sum(), int(fraction * len(texts)))


@given(TEXTS, TARGETS, THRESHOLDS, THRESHOLDS, FRACTIONS)
def test_raising_threshold_never_keeps_more(texts, targets, one, other, fraction):
    block = candidates(sign_vectors(texts), sign_vectors(targets))

    low = curator(threshold=min(one, other), min_keep_fraction=fraction).select(block)
    high = curator(threshold=max(one, other), min_keep_fraction=fraction).select(block)

    assert high.keep.sum() <= low.keep.sum()
    assert (low.keep | ~high.keep).all()


@given(TEXTS, TARGETS, THRESHOLDS, FRACTIONS)
def test_kept_and_dropped_add_up(texts, targets, threshold, fraction):
    rule = curator(threshold=threshold, min_keep_fraction=fraction)

    selection = rule.select(candidates(sign_vectors(texts), sign_vectors(targets)))

    reasons = selection.count_by_reason()
    assert len(texts) == selection.keep.sum() + reasons["dropped"]
    assert len(texts) == sum(reasons.values())


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=60),
    TARGETS,
    THRESHOLDS,
    FRACTIONS,
    st.integers(1, 25),
    st.integers(1, 60),
)
def test_scan_keeps_what_cits_round_in_plain_loops_keeps(
    texts, targets, threshold, fraction, block_size, budget
):
    features, target_features = sign_vectors(texts), sign_vectors(targets)
    rule = curator(threshold=threshold, min_keep_fraction=fraction, block_size=block_size)
    place = site(features, target_features, curator=rule)

    selection, _, _ = scan(
        place, rule, place.look(), start=0, budget=budget, max_scan=10 * len(texts)
    )

    starts = range(0, len(texts), block_size)
    blocks = [traversal_block(len(texts), start, block_size, seed=0) for start in starts]
    producer = ([(int(row), features[row].tolist()) for row in block] for block in blocks)
    expected = curation_round(
        producer, target_features.tolist(), threshold=threshold, gamma=fraction, budget=budget
    )
    assert expected == selection.kept.rows.tolist()


@given(TEXTS, TARGETS, st.floats(0, 1))
def test_quantile_equals_the_absolute_threshold_it_calibrates_to(texts, targets, share):
    block = candidates(sign_vectors(texts), sign_vectors(targets))

    calibrated = curator(threshold=share, threshold_mode="quantile").calibrate(block)

    assert ThresholdMode.ABSOLUTE is calibrated.threshold_mode
    scores = max_similarity(block.caption_features, block.target_features)[0]
    assert calibrated.threshold == between_scores(scores, share)
    as_absolute = curator(threshold=calibrated.threshold).select(block)
    assert (as_absolute.keep == calibrated.select(block).keep).all()


@pytest.mark.parametrize("num_scores", [0, 1, 4])
def test_a_quantile_of_zero_lets_every_pair_pass(num_scores):
    scores = np.linspace(-0.5, 0.5, num_scores, dtype=np.float32)

    assert (scores > between_scores(scores, 0.0)).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_quantile_keeps_about_the_share_that_scores_higher(share):
    features = unit(*np.random.default_rng(0).normal(size=(1000, 8)))
    targets = unit(*np.random.default_rng(1).normal(size=(3, 8)))
    sample, rest = candidates(features[:500], targets), candidates(features[500:], targets)

    calibrated = curator(threshold=share, threshold_mode="quantile").calibrate(sample)

    assert 1 - share == pytest.approx(calibrated.select(sample).keep.mean(), abs=0.003)
    # two samples of 500 differ by at most 4 standard deviations of their difference, 4 * 0.032
    assert 1 - share == pytest.approx(calibrated.select(rest).keep.mean(), abs=0.13)


def test_quantile_means_the_same_for_an_encoder_with_other_cosines():
    features = unit(*np.random.default_rng(0).normal(size=(200, 8)))
    targets = unit(*np.random.default_rng(1).normal(size=(2, 8)))
    shift = np.array([9, 0, 0, 0, 0, 0, 0, 0])
    narrow, narrow_targets = (unit(*(x + shift)) for x in (features, targets))
    rule = curator(threshold=0.7, threshold_mode="quantile")

    kept = [
        rule.calibrate(block).select(block).keep.sum()
        for block in (candidates(features, targets), candidates(narrow, narrow_targets))
    ]

    assert kept == [60, 60]


def test_quantile_can_be_calibrated_where_captions_equal_targets():
    captions = unit(*np.random.default_rng(0).normal(size=(200, 48)))

    curator(threshold=1.0, threshold_mode="quantile").calibrate(candidates(captions, captions))


def test_absolute_threshold_needs_no_calibration():
    rule = curator(threshold=0.3)

    assert rule is rule.calibrate(candidates(unit([1, 0]), unit([1, 0])))


@given(
    st.lists(st.integers(0, 2**16 - 1), max_size=20),
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=20),
    st.integers(1, 20),
)
def test_texts_in_blocks_give_what_they_give_at_once(texts, targets, at_once):
    features, target_features = sign_vectors(texts), sign_vectors(targets)
    before = target_similarity._SIMILARITIES_AT_ONCE

    whole = max_similarity(features, target_features)
    try:
        target_similarity._SIMILARITIES_AT_ONCE = at_once
        in_blocks = max_similarity(features, target_features)
    finally:
        target_similarity._SIMILARITIES_AT_ONCE = before

    assert (whole[0] == in_blocks[0]).all()
    assert (whole[1] == in_blocks[1]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.4},
        {"threshold": -1.1},
        {"min_keep_fraction": 1.1},
        {"min_keep_fraction": -0.1},
        {"block_size": 0},
        {"threshold_mode": "percentile"},
        {"treshold": 0.5},
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong):
    right = {
        "threshold": 0.5,
        "threshold_mode": "absolute",
        "min_keep_fraction": 0.0,
        "block_size": 10,
    }

    with pytest.raises(ValidationError):
        TargetSimilarity(**right | wrong)


def test_negative_quantile_is_refused():
    with pytest.raises(ValidationError, match="a quantile lies in"):
        curator(threshold=-0.5, threshold_mode="quantile")


def test_select_leaves_its_input_as_it_was():
    captions, targets = sign_vectors([1, 2, 3]), sign_vectors([0])
    before = captions.copy()

    curator(threshold=0.9, min_keep_fraction=0.5).select(candidates(captions, targets))

    assert (before == captions).all()


def test_a_quantile_lies_between_scores_so_that_no_pair_is_kept_by_its_last_bit():
    score = np.array([0.5, 0.1, 0.3, 0.2, 0.4], dtype=np.float32)

    assert between_scores(score, 0.5) == pytest.approx(0.35)
    assert between_scores(score, 0.49) == pytest.approx(0.25)
    assert between_scores(score, 1.0) == pytest.approx(0.5)  # no score is larger


def test_scores_that_differ_by_rounding_tie():
    # 60 captions word for word, each scored in two batches
    draw = np.random.default_rng(0)
    score = np.concatenate([draw.uniform(0, 0.9, 940), np.full(60, 0.99999)])
    once, again = ((score + draw.uniform(-5e-7, 5e-7, 1000)).astype(np.float32) for _ in range(2))

    threshold = between_scores(once, 0.97)

    assert (again > threshold).sum() == 60
    assert 0.9 < threshold < 0.99


def test_scores_that_tie_at_the_quantile_pass_together():
    score = np.array([0.2, 1.0, 1.0, 1.0, 0.4], dtype=np.float32)

    assert between_scores(score, 0.9) == pytest.approx(0.7)
    assert between_scores(score, 0.5) == pytest.approx(0.7)
    assert between_scores(np.ones(5, dtype=np.float32), 0.5) == pytest.approx(0.0)


@given(
    score=st.lists(st.integers(-100, 100), min_size=1, max_size=30, unique=True),
    share=st.floats(0, 1),
)
def test_about_the_wanted_share_lies_below_the_threshold(score, share):
    values = np.array(score, dtype=np.float32) / 100

    below = (values <= between_scores(values, share)).sum()

    assert abs(below - share * len(values)) <= 1


def test_thirty_thousand_targets_take_bounded_memory_and_the_answer_is_exact():
    draw = np.random.default_rng(0)
    features = sign_vectors(draw.integers(0, 2**16, size=2048).tolist())
    targets = sign_vectors(draw.integers(0, 2**16, size=30_000).tolist())  # many ties
    whole_bytes = 2048 * 30_000 * 4

    tracemalloc.start()
    try:
        score, nearest = max_similarity(features, targets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # one block of similarities, and less than a tenth of it beside
    bound = 1.1 * 4 * target_similarity._SIMILARITIES_AT_ONCE
    assert peak < bound < whole_bytes / 3
    for row in range(0, 2048, 8):
        similarity = [float(value) for value in targets @ features[row]]
        assert max(similarity) == score[row]
        assert similarity.index(max(similarity)) == nearest[row]
