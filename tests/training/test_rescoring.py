import dataclasses
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import candidates, sign_vectors, site
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.selection import concatenate
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.errors import ParameterError
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.rescoring import (
    LastScores,
    SkippingCurator,
    SkipRescoring,
    drift_bounds,
    num_needed,
)

TARGETS = sign_vectors([0])
TEXTS = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40)


def settings(**changes) -> SkipRescoring:
    defaults = {"quantile": 0.5, "margin": 0.0, "sample_size": 10, "audit_size": 1000}
    return SkipRescoring(**defaults | changes)


def rule(*, threshold: float = 0.5, min_keep_fraction: float = 0.0) -> TargetSimilarity:
    return TargetSimilarity(
        threshold=threshold,
        threshold_mode=ThresholdMode.ABSOLUTE,
        min_keep_fraction=min_keep_fraction,
        block_size=7,
    )


class CountedPool:
    """Candidates with known features, that counts which were asked for."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features
        self.encoded: list[int] = []

    def look(self, rows: np.ndarray):
        def encode(rows: np.ndarray) -> np.ndarray:
            self.encoded += rows.tolist()
            return self.features[rows]

        block = candidates(self.features, TARGETS, rows.tolist())
        return dataclasses.replace(block, encode_captions=encode)


def skipping(
    curator: TargetSimilarity, last: LastScores, *, round_index: int = 1, **changes
) -> SkippingCurator:
    return SkippingCurator(curator, last, settings=settings(**changes), round_index=round_index)


def scored_under(features: np.ndarray) -> LastScores:
    last = LastScores.of_no_round(len(features))
    last.record(rule().select(candidates(features, TARGETS)), round_index=0)
    return last


def blocks_of(num_pairs: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + 7, num_pairs)) for start in range(0, num_pairs, 7)]


# --- how far scores rose


def test_bound_is_the_quantile_of_what_is_at_least_as_old():
    increase = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    age = np.array([1, 1, 3, 3])

    bounds = drift_bounds(increase, age, quantile=0.5)

    # all four for age 1: the next above the median; the old two for 2 and 3
    assert pytest.approx([0.0, 0.3, 0.4, 0.4]) == bounds.tolist()


def test_bound_of_the_oldest_rests_on_as_many_pairs_as_its_quantile_needs():
    increase = np.array([0.5, 0.1, 0.2, 0.3], dtype=np.float32)
    age = np.array([2, 1, 1, 1])

    bounds = drift_bounds(increase, age, quantile=0.75)

    assert num_needed(0.75) == 4
    assert pytest.approx([0.0, 0.5, 0.5]) == bounds.tolist()


def test_scores_that_fell_give_a_bound_below_zero():
    bounds = drift_bounds(np.full(2, -0.25, np.float32), np.array([1, 1]), quantile=0.5)

    assert bounds.tolist() == [0.0, -0.25]


def test_sample_that_is_too_small_bounds_nothing():
    assert math.isinf(drift_bounds(np.zeros(9, np.float32), np.ones(9, int), quantile=0.9)[-1])
    assert drift_bounds(np.zeros(10, np.float32), np.ones(10, int), quantile=0.9)[-1] == 0


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_sample_of_the_needed_size_shows_the_quantile(share):
    assert round(1 / (1 - share)) == num_needed(share)
    with pytest.raises(ValidationError, match="shows in samples of"):
        settings(quantile=share, sample_size=num_needed(share) - 1)


# --- who is passed over


@hypothesis.settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.0, 0.3]), st.sampled_from([0.25, 0.5]))
def test_infinite_margin_gives_what_full_scoring_gives(before, after, fraction, threshold):
    num_pairs = min(len(before), len(after))
    pool = CountedPool(sign_vectors(after[:num_pairs]))
    curator = rule(threshold=threshold, min_keep_fraction=fraction)
    quick = skipping(curator, scored_under(sign_vectors(before[:num_pairs])), margin=math.inf)
    quick.measure_drift(pool.look, np.arange(num_pairs), seed=0)

    for rows in blocks_of(num_pairs):
        expected, found = curator.select(pool.look(rows)), quick.select(pool.look(rows))
        for name in ("rows", "keep", "score", "nearest_target", "reason", "threshold"):
            assert np.array_equal(getattr(expected, name), getattr(found, name)), name
    assert quick.statistics(pool.look, seed=0)["num_skipped"] == 0


@hypothesis.settings(deadline=None)
@given(
    TEXTS,
    TEXTS,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from([0.0, 0.5]),
)
def test_what_is_kept_is_kept_by_full_scoring_and_only_skipped_pairs_are_missed(
    before, after, fraction, threshold, quantile
):
    num_pairs = min(len(before), len(after))
    pool = CountedPool(sign_vectors(after[:num_pairs]))
    curator = rule(threshold=threshold, min_keep_fraction=fraction)
    quick = skipping(
        curator, scored_under(sign_vectors(before[:num_pairs])), quantile=quantile, sample_size=3
    )
    quick.measure_drift(pool.look, np.arange(num_pairs), seed=0)

    blocks = [pool.look(rows) for rows in blocks_of(num_pairs)]
    full = concatenate([curator.select(block) for block in blocks])
    found = concatenate([quick.select(block) for block in blocks])

    assert found.rows.tolist() == full.rows.tolist()
    assert (full.keep | ~found.keep).all()
    skipped = np.isnan(found.score)
    missed = full.keep & ~found.keep
    assert (skipped | ~missed).all()
    assert np.array_equal(full.score[~skipped], found.score[~skipped])
    # everything passed over is audited here, so the estimate is the truth
    passing = full.score > threshold
    rate = (passing & skipped).sum() / max(1, passing.sum())
    assert pytest.approx(rate) == quick.statistics(pool.look, seed=0)["estimated_miss_rate"]


def test_under_a_frozen_encoder_all_that_failed_is_passed_over_and_nothing_missed():
    features = sign_vectors(np.random.default_rng(0).integers(0, 2**16, size=200).tolist())
    pool = CountedPool(features)
    curator = rule(threshold=0.25)
    full = curator.select(pool.look(np.arange(200)))
    quick = skipping(curator, scored_under(features))
    quick.measure_drift(pool.look, np.arange(200), seed=0)
    pool.encoded.clear()

    found = concatenate([quick.select(pool.look(rows)) for rows in blocks_of(200)])

    assert full.keep.tolist() == found.keep.tolist()
    assert full.kept.rows.tolist() == pool.encoded  # nothing else is encoded
    statistics = quick.statistics(pool.look, seed=0)
    assert 0 == statistics["estimated_miss_rate"] == statistics["drift_bound"]
    assert 200 - full.keep.sum() == statistics["num_skipped"] == statistics["num_audited"]
    assert full.keep.sum() == statistics["num_rescored"] > 0


def test_relaxed_block_is_scored_whole_and_each_of_its_pairs_once():
    # nothing passes: the best two of seven are kept, of which one was far below
    before, after = sign_vectors([0b1111111] * 7), sign_vectors([0b1, *[0b11] * 5, 0b1])
    pool = CountedPool(after)
    curator = rule(threshold=0.9, min_keep_fraction=0.3)
    quick = skipping(curator, scored_under(before), quantile=0.0, sample_size=1)
    quick._bounds = np.array([0.0, 0.0])  # as measured on pairs that did not move

    found = quick.select(pool.look(np.arange(7)))

    assert found.count_by_reason() == {"dropped": 5, "threshold": 0, "relaxation": 2}
    assert found.kept.rows.tolist() == [0, 6]
    assert sorted(pool.encoded) == list(range(7))


def test_pairs_that_were_never_scored_are_scored():
    pool = CountedPool(sign_vectors([0xFFFF] * 7))
    quick = skipping(rule(), LastScores.of_no_round(7))
    quick.measure_drift(pool.look, np.arange(7), seed=0)

    quick.select(pool.look(np.arange(7)))

    assert list(range(7)) == pool.encoded
    assert quick.last.given_in.tolist() == [1] * 7
    assert "drift_bound" not in quick.statistics(pool.look, seed=0)


def test_miss_rate_is_estimated_from_the_audit():
    # 12 pairs below the threshold, of which half rise above it while the bound says none does
    before = sign_vectors([0b11111111] * 12 + [0] * 2)
    after = sign_vectors([0] * 6 + [0b11111111] * 6 + [0] * 2)
    quick = skipping(rule(), scored_under(before))
    quick._bounds = np.array([0.0, 0.0])
    pool = CountedPool(after)

    for rows in blocks_of(14):
        quick.select(pool.look(rows))

    # 6 missed and 2 found
    assert quick.statistics(pool.look, seed=0)["estimated_miss_rate"] == 6 / 8


def test_scores_before_a_round_are_left_as_they_were():
    last = scored_under(sign_vectors([0b1, 0b11]))
    quick = skipping(rule(), last)

    quick.select(CountedPool(sign_vectors([0, 0])).look(np.arange(2)))

    assert last.score.tolist() == [0.875, 0.75]
    assert last.given_in.tolist() == [0, 0]
    assert quick.last.score.tolist() == [1.0, 1.0]


def test_curator_without_a_threshold_is_refused():
    plan = CurateDuringTraining(
        curate_every=1, max_scan=100, calibration_size=1, skip_rescoring=settings()
    )

    capped = dataclasses.replace(rule(), max_per_text=3)  # scores do not say what a cap keeps
    for curator in (KeepAll(), capped):
        kind = type(curator).__name__
        with pytest.raises(ParameterError, match=f"{kind} is given, so set it to null"):
            next(plan.rounds(site(sign_vectors([0] * 8), TARGETS, curator=curator), resume=None))


# --- in rounds


def test_second_pass_of_a_frozen_encoder_keeps_the_same_at_a_fraction_of_the_forwards():
    draw = np.random.default_rng(1)
    features = sign_vectors(draw.integers(0, 2**16, size=400).tolist())
    place = site(features, TARGETS, curator=rule(threshold=0.25))
    plan = CurateDuringTraining(curate_every=1000, max_scan=1000, calibration_size=1)
    quick = dataclasses.replace(plan, skip_rescoring=settings(sample_size=20, audit_size=5))

    whole, spared = (iter(p.rounds(place, resume=None)) for p in (plan, quick))
    for _ in range(3):
        expected, found = next(whole), next(spared)
        assert expected.state.rows.tolist() == found.state.rows.tolist()

    assert found.statistics["num_skipped"] > 300
    assert found.statistics["num_rescored"] == found.statistics["num_kept"] < 100
    assert found.statistics["num_audited"] == 5
