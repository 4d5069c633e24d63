import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import candidates, sign_vectors, site
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.training.curate_during_training import CurateDuringTraining

TARGETS = sign_vectors([0, 255, 4095])
CLOSE = TargetSimilarity(
    threshold=0.2, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.0, block_size=8
)
CROWDED = np.repeat(TARGETS, 400, axis=0)  # 400 pairs for each of three texts
pools = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=60).map(sign_vectors)


def capped(cap: int, seed: int = 0) -> TargetSimilarity:
    return dataclasses.replace(CLOSE, max_per_text=cap, seed=seed)


@given(pools, st.integers(1, 6), st.integers(0, 3))
def test_each_text_keeps_its_cap_of_what_is_close_or_all_of_it(features, cap, seed):
    block = candidates(features, TARGETS)

    close = CLOSE.select(block)
    selection = capped(cap, seed).calibrate(block).select(block)

    assert (selection.keep <= close.keep).all()
    for text in range(len(TARGETS)):
        num_close = (close.keep & (close.nearest_target == text)).sum()
        num_kept = (selection.keep & (selection.nearest_target == text)).sum()
        assert min(cap, num_close) == num_kept
    assert len(block) == sum(selection.count_by_reason().values())


@given(pools)
def test_a_cap_above_every_count_changes_nothing(features):
    block = candidates(features, TARGETS)

    close, selection = CLOSE.select(block), capped(1000).calibrate(block).select(block)

    for field in dataclasses.fields(close):
        np.testing.assert_array_equal(getattr(close, field.name), getattr(selection, field.name))


@pytest.mark.parametrize("num_pairs", [40, 43])
def test_the_cap_holds_over_blocks_of_which_each_keeps_its_best(num_pairs):
    features = sign_vectors(range(4096 + 1, 4096 + 1 + num_pairs))
    everything = candidates(features, sign_vectors([4095]))
    rule = TargetSimilarity(
        threshold=0.99,
        threshold_mode=ThresholdMode.ABSOLUTE,
        min_keep_fraction=0.5,
        block_size=8,
        max_per_text=5,
    ).calibrate(everything)
    blocks = [everything.rows[start : start + 8] for start in range(0, num_pairs, 8)]

    parts = [rule.select(dataclasses.replace(everything, rows=rows)) for rows in blocks]

    assert sum(part.keep.sum() for part in parts) == 5


def test_without_a_cap_calibration_gives_the_rule_itself():
    assert CLOSE.calibrate(candidates(CROWDED, TARGETS)) is CLOSE


def test_a_sample_stands_for_the_pool():
    everything = candidates(CROWDED, TARGETS)
    sample = dataclasses.replace(everything, rows=np.arange(0, 1200, 4))

    rule = capped(100).calibrate(sample)

    # each text has 100 pairs in a quarter of the pool, so 400 in it, of which 100 are to be kept
    assert rule.limits.tolist() == [0.25, 0.25, 0.25]
    counts = np.bincount(rule.select(everything).kept.nearest_target)
    assert (np.abs(counts - 100) < 35).all()  # 4 standard deviations of 400 draws at 0.25


def test_a_cap_below_one_pair_of_the_sample_still_keeps_pairs():
    everything = candidates(CROWDED, TARGETS)
    sample = dataclasses.replace(everything, rows=np.arange(0, 1200, 100))  # four a text

    kept = capped(40).calibrate(sample).select(everything).kept

    counts = np.bincount(kept.nearest_target, minlength=3)
    assert (np.abs(counts - 40) < 24).all()  # 4 standard deviations of 400 draws at 0.1


def test_a_text_that_the_sample_does_not_hold_is_not_capped():
    everything = candidates(CROWDED, TARGETS)
    sample = dataclasses.replace(everything, rows=np.arange(400, 1200))

    kept = capped(10).calibrate(sample).select(everything).kept

    counts = np.bincount(kept.nearest_target)
    assert counts[0] == 400
    assert counts.max() == counts[0] > 10 * counts[1]


def test_rounds_draw_anew_so_that_no_pair_is_left_out_for_good():
    plan = CurateDuringTraining(curate_every=100, max_scan=10_000, calibration_size=10_000)
    place = site(CROWDED, TARGETS, curator=capped(100))
    rounds = plan.rounds(place, resume=None)

    kept = [set(next(rounds).state.rows.tolist()) for _ in range(8)]

    assert {300} == {len(rows) for rows in kept}  # exact: the sample is the pool
    assert len(set.union(*kept)) > 1000  # of 1,200; the same draws each time would give 300


def test_the_first_round_draws_as_before_training():
    plan = CurateDuringTraining(curate_every=100, max_scan=10_000, calibration_size=10_000)
    rule = capped(100)
    block = candidates(CROWDED, TARGETS)

    first = next(plan.rounds(site(CROWDED, TARGETS, curator=rule), resume=None))

    before = rule.calibrate(block).select(block).kept.rows.tolist()
    assert before == sorted(first.state.rows.tolist())


def test_a_rule_with_a_cap_wants_calibration_first():
    with pytest.raises(ValueError, match="settled by calibrate"):
        capped(1).select(candidates(CROWDED, TARGETS))


def test_a_cap_of_none_at_all_is_refused():
    with pytest.raises(ValidationError, match="max_per_text"):
        TargetSimilarity(**dataclasses.asdict(CLOSE) | {"max_per_text": 0})
