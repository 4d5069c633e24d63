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
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode, max_similarity
from vl_pipeline.errors import ParameterError
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.forecast import Forecast, LastFeatures, highest_cut, turn_between
from vl_pipeline.training.rescoring import SkippingCurator, SkipRescoring, num_needed

TARGETS = sign_vectors([0])
STANDING = Forecast(np.eye(16, dtype=np.float32), TARGETS, cut=0.5)  # of a tower that did not move
TEXTS = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40)


def settings(**changes) -> SkipRescoring:
    defaults = {"miss_rate": 0.1, "sample_size": 100, "audit_size": 1000}
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


def skipping(curator: TargetSimilarity, last: LastFeatures, **changes) -> SkippingCurator:
    return SkippingCurator(curator, last, settings=settings(**changes))


def encoded(features: np.ndarray) -> LastFeatures:
    last = LastFeatures.of_no_round(*features.shape)
    last.record(np.arange(len(features)), features)
    return last


def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def unit_vectors(num: int, width: int, *, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blocks_of(num_pairs: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + 7, num_pairs)) for start in range(0, num_pairs, 7)]


# --- what is remembered


def test_remembered_features_are_the_features_but_for_a_127th_of_the_largest_entry():
    features = unit_vectors(50, 32, seed=0)

    found = encoded(features).of(np.arange(50))

    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    assert np.abs(found - features).max() < np.abs(features).max() / 127


def test_only_what_was_encoded_is_known():
    last = LastFeatures.of_no_round(4, 16)
    last.record(np.array([2]), sign_vectors([5]))

    assert last.known(np.arange(4)).tolist() == [False, False, True, False]


# --- what is foretold


def test_turn_is_found_where_a_sample_shows_it():
    before = unit_vectors(400, 8, seed=0)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0].astype(np.float32)

    turn = turn_between(np.tile(before, (100, 1)), np.tile(before @ rotation, (100, 1)))

    assert np.abs(turn - rotation).max() < 1e-3


def test_directions_that_no_sample_shows_have_not_moved():
    before = np.eye(4, dtype=np.float32)[:1]

    turn = turn_between(before, -before)

    # (1 * -1 + ridge 1 * 1) / (1 + ridge 1) where the sample was, the identity elsewhere
    assert np.diag([0.0, 1, 1, 1]).tolist() == turn.tolist()


def test_cut_is_the_literal_rule():
    predicted = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.9], np.float32)
    actual = np.array([0.1, 0.35, 0.2, 0.4, 0.55, 0.8], np.float32)
    errors = actual.astype(float) - predicted
    chance = [np.mean([x + e > 0.5 for e in errors]) for x in predicted.astype(float)]
    assert sum(chance) > 1

    for rate in (0.05, 0.1, 0.2, 0.4):
        cuts = [x for k, x in enumerate(predicted) if sum(chance[: k + 1]) <= rate * sum(chance)]
        assert highest_cut(predicted, actual, threshold=0.5, miss_rate=rate) == max(cuts)


def test_equal_predictions_are_passed_over_together_or_not_at_all():
    # each of the six below has one chance in eight to pass, 0.75 of 2 together
    predicted = np.array([0.0] * 6 + [1.0] * 2, np.float32)
    actual = np.array([1.0] + [0.0] * 5 + [1.0] * 2, np.float32)
    chances = 6 / 8 + 2

    assert highest_cut(predicted, actual, threshold=0.5, miss_rate=0.5 / chances) == -math.inf
    assert highest_cut(predicted, actual, threshold=0.5, miss_rate=0.76 / chances) == 0


def test_nothing_is_passed_over_where_nothing_in_the_sample_passes():
    score = np.zeros(9, np.float32)

    assert highest_cut(score, score, threshold=0.5, miss_rate=0.5) == -math.inf


def test_forecast_knows_a_rotation_that_no_score_shows():
    # Every text turned with the tower: old scores under new targets say nothing, the map all.
    before, targets = unit_vectors(4000, 8, seed=0), unit_vectors(3, 8, seed=1)
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((8, 8)))[0].astype(np.float32)
    now, turned = before @ rotation, targets @ rotation
    score, _ = max_similarity(now, turned)

    forecast = Forecast.measured(before[:2000], now[:2000], turned, threshold=0.7, miss_rate=0.01)

    skipped, passes = forecast.rules_out(forecast.features(before[2000:])), score[2000:] > 0.7
    assert (skipped & passes).sum() <= 0.02 * passes.sum()
    assert skipped.sum() > 0.95 * (~passes).sum()
    unturned = np.abs(max_similarity(before, turned)[0] - score)
    assert unturned.mean() > 0.1


def test_errors_are_those_of_pairs_that_the_map_has_not_seen():
    # Fewer pairs than dimensions, and nothing to learn: fitted to itself, a half looks foretold.
    before, now = unit_vectors(60, 128, seed=0), unit_vectors(60, 128, seed=1)
    targets = unit_vectors(5, 128, seed=2)
    score, _ = max_similarity(now, targets)
    predicted = np.empty(60, np.float32)
    for half, other in ((slice(0, 30), slice(30, 60)), (slice(30, 60), slice(0, 30))):
        moved = before[half] @ turn_between(before[other], now[other])
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        predicted[half] = max_similarity(moved, targets)[0]

    forecast = Forecast.measured(before, now, targets, threshold=0.1, miss_rate=0.1)

    assert forecast.cut == highest_cut(predicted, score, threshold=0.1, miss_rate=0.1)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_sample_of_the_needed_size_shows_the_rate(rate):
    assert round(1 / rate) == num_needed(rate)
    with pytest.raises(ValidationError, match="shows in samples of"):
        settings(miss_rate=rate, sample_size=num_needed(rate) - 1)


# --- who is passed over


@hypothesis.settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.0, 0.3]), st.sampled_from([0.25, 0.5]))
def test_no_misses_allowed_gives_what_full_scoring_gives(before, after, fraction, threshold):
    num_pairs = min(len(before), len(after))
    pool = CountedPool(sign_vectors(after[:num_pairs]))
    curator = rule(threshold=threshold, min_keep_fraction=fraction)
    quick = skipping(curator, encoded(sign_vectors(before[:num_pairs])), miss_rate=0.0)
    quick.measure(pool.look, np.arange(num_pairs), draw=draw())

    for rows in blocks_of(num_pairs):
        expected, found = curator.select(pool.look(rows)), quick.select(pool.look(rows))
        for name in ("rows", "keep", "score", "nearest_target", "reason", "threshold"):
            assert np.array_equal(getattr(expected, name), getattr(found, name)), name
    assert quick.statistics(pool.look, draw=draw())["num_skipped"] == 0


@hypothesis.settings(deadline=None)
@given(
    TEXTS,
    TEXTS,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from([0.3, 0.9]),
)
def test_what_is_kept_is_kept_by_full_scoring_and_only_skipped_pairs_are_missed(
    before, after, fraction, threshold, miss_rate
):
    num_pairs = min(len(before), len(after))
    pool = CountedPool(sign_vectors(after[:num_pairs]))
    curator = rule(threshold=threshold, min_keep_fraction=fraction)
    last = encoded(sign_vectors(before[:num_pairs]))
    quick = skipping(curator, last, miss_rate=miss_rate, sample_size=4)
    quick.measure(pool.look, np.arange(num_pairs), draw=draw())

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
    assert pytest.approx(rate) == quick.statistics(pool.look, draw=draw())["estimated_miss_rate"]


def test_under_a_frozen_encoder_all_that_failed_is_passed_over_and_nothing_missed():
    features = sign_vectors(np.random.default_rng(0).integers(0, 2**16, size=200).tolist())
    pool = CountedPool(features)
    curator = rule(threshold=0.25)
    full = curator.select(pool.look(np.arange(200)))
    quick = skipping(curator, encoded(features))
    quick.measure(pool.look, np.arange(200), draw=draw())
    pool.encoded.clear()

    found = concatenate([quick.select(pool.look(rows)) for rows in blocks_of(200)])

    assert full.keep.tolist() == found.keep.tolist()
    assert full.kept.rows.tolist() == pool.encoded  # nothing else is encoded
    statistics = quick.statistics(pool.look, draw=draw())
    assert statistics["estimated_miss_rate"] == 0
    assert pytest.approx(0.25) == statistics["skipped_up_to"]  # the best that fails
    assert 200 - full.keep.sum() == statistics["num_skipped"] == statistics["num_audited"]
    assert full.keep.sum() == statistics["num_rescored"] > 0


def test_relaxed_block_is_scored_whole_and_each_of_its_pairs_once():
    # nothing passes: the best two of seven are kept, of which one was far below
    before, after = sign_vectors([0b1111111] * 7), sign_vectors([0b1, *[0b11] * 5, 0b1])
    pool = CountedPool(after)
    curator = rule(threshold=0.9, min_keep_fraction=0.3)
    quick = skipping(curator, encoded(before))
    quick._forecast = STANDING  # as measured on pairs that did not move

    found = quick.select(pool.look(np.arange(7)))

    assert found.count_by_reason() == {"dropped": 5, "threshold": 0, "relaxation": 2}
    assert found.kept.rows.tolist() == [0, 6]
    assert sorted(pool.encoded) == list(range(7))


def test_pairs_that_were_never_scored_are_scored():
    pool = CountedPool(sign_vectors([0xFFFF] * 7))
    quick = skipping(rule(), LastFeatures.of_no_round(7, 16))
    quick.measure(pool.look, np.arange(7), draw=draw())

    quick.select(pool.look(np.arange(7)))

    assert list(range(7)) == pool.encoded
    assert quick.last.known(np.arange(7)).all()
    assert "skipped_up_to" not in quick.statistics(pool.look, draw=draw())


def test_miss_rate_is_estimated_from_the_audit():
    # 12 pairs below the threshold, of which half rise above it while the forecast says none does
    before = sign_vectors([0b11111111] * 12 + [0] * 2)
    after = sign_vectors([0] * 6 + [0b11111111] * 6 + [0] * 2)
    quick = skipping(rule(), encoded(before))
    quick._forecast = STANDING
    pool = CountedPool(after)

    for rows in blocks_of(14):
        quick.select(pool.look(rows))

    # 6 missed and 2 found
    assert quick.statistics(pool.look, draw=draw())["estimated_miss_rate"] == 6 / 8


def test_pairs_passed_over_go_on_with_their_predicted_features():
    quick = skipping(rule(), encoded(sign_vectors([0xFF0F, 0])))
    quick._forecast = dataclasses.replace(STANDING, turn=np.flip(np.eye(16, dtype=np.float32), 1))

    found = quick.select(CountedPool(sign_vectors([0x00FF, 0])).look(np.arange(2)))

    assert np.isnan(found.score).tolist() == [True, False]
    # the signs of 0xFF0F in the reverse order
    assert np.array_equal(quick.last.of(np.arange(2)), sign_vectors([0xF0FF, 0]))


def test_features_before_a_round_are_left_as_they_were():
    last = encoded(sign_vectors([0b1, 0b11]))
    quick = skipping(rule(), last)

    quick.select(CountedPool(sign_vectors([0, 0])).look(np.arange(2)))

    assert np.array_equal(last.of(np.arange(2)), sign_vectors([0b1, 0b11]))
    assert np.array_equal(quick.last.of(np.arange(2)), sign_vectors([0, 0]))


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
    quick = dataclasses.replace(plan, skip_rescoring=settings(sample_size=100, audit_size=5))

    whole, spared = (iter(p.rounds(place, resume=None)) for p in (plan, quick))
    for _ in range(3):
        expected, found = next(whole), next(spared)
        assert expected.state.rows.tolist() == found.state.rows.tolist()

    assert found.statistics["num_skipped"] > 300
    assert found.statistics["num_rescored"] == found.statistics["num_kept"] < 100
    assert found.statistics["num_audited"] == 5
