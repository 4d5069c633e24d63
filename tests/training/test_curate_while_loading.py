import dataclasses
import itertools

import numpy as np
import pytest

from tests.fakes import sign_vectors, site
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.errors import CurationError
from vl_pipeline.training.curate_while_loading import CurateWhileLoading
from vl_pipeline.training.schedule import Round, Site

TARGETS = sign_vectors([0])
PASSES, FAILS = 0b0, 0b1111  # similarity 1 and 4/8 to the target
RULE = TargetSimilarity(
    threshold=0.9, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.0, block_size=5
)


def place(num_pairs: int = 40, *, passing_every: int = 2, **settings) -> Site:
    numbers = [FAILS if n % passing_every else PASSES for n in range(num_pairs)]
    return site(sign_vectors(numbers), TARGETS, curator=RULE, batch_size=4, **settings)


def first_rounds(where: Site, number: int, *, fill_steps: int = 2, resume=None) -> list[Round]:
    plan = CurateWhileLoading(fill_steps=fill_steps, calibration_size=10)
    return list(itertools.islice(plan.rounds(where, resume=resume), number))


def rows_of(*rounds: Round) -> list[int]:
    return [row for round_ in rounds for row in round_.state.rows.tolist()]


def test_each_pass_trains_once_on_each_pair_that_is_kept():
    # 20 of 40 pass: five rounds of eight are two passes
    rounds = first_rounds(place(), 5)

    seen = rows_of(*rounds)
    assert [len(round_.state.rows) for round_ in rounds] == [8] * 5
    assert list(range(0, 40, 2)) == sorted(seen[:20]) == sorted(seen[20:])
    assert seen[:20] != seen[20:]


def test_a_round_ends_with_the_pair_that_fills_it():
    first, second = first_rounds(place(), 2)

    assert first.selection.keep[-1]
    assert first.state.position == len(first.selection)
    assert first.statistics["num_kept"] == 8
    assert not set(first.selection.rows) & set(second.selection.rows)


def test_a_round_that_sees_the_whole_pool_says_so():
    (round_,) = first_rounds(place(num_pairs=20), 1, fill_steps=5)

    assert round_.statistics["status"] == "pool_exhausted"
    assert len(round_.batches) == 2  # ten pass: two batches of four


def test_the_encoder_of_the_moment_is_never_asked():
    def refuse() -> None:
        raise AssertionError("features come from before training")

    where = dataclasses.replace(place(), look=refuse)

    assert len(first_rounds(where, 3)) == 3


def test_a_pool_that_keeps_less_than_a_batch_is_an_error():
    with pytest.raises(CurationError, match="round 0 kept 2 of 40 candidates"):
        first_rounds(place(passing_every=20), 1)


@pytest.mark.parametrize("num_pairs", [0, 3])
def test_a_pool_smaller_than_a_batch_is_an_error_that_names_the_batch(num_pairs):
    message = f"the pool has {num_pairs} pairs, fewer than one batch of 4"
    with pytest.raises(CurationError, match=message):
        first_rounds(place(num_pairs=num_pairs, passing_every=1), 1)


@pytest.mark.parametrize("interrupted_in", range(4))
def test_resumed_rounds_equal_uninterrupted_ones(interrupted_in):
    whole = first_rounds(place(), 6)

    resumed = first_rounds(place(), 6 - interrupted_in, resume=whole[interrupted_in].state)

    for expected, found in zip(whole[interrupted_in:], resumed, strict=True):
        assert expected.state.position == found.state.position
        np.testing.assert_array_equal(expected.batches, found.batches)
    for expected, found in zip(whole[interrupted_in + 1 :], resumed[1:], strict=True):
        assert expected.statistics == found.statistics
