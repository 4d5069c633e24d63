import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import sign_vectors, site, unit
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.selection import concatenate
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.errors import CurationError
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.scan import scan, traversal_block
from vl_pipeline.training.schedule import EpochsOverCuratedSet, Round, Site

TARGETS = sign_vectors([0])
PASSES, FAILS = 0b0, 0b1111  # similarity 1 and 4/8 to the target


def curator(
    *, threshold: float = 0.9, min_keep_fraction: float = 0.0, block_size: int = 5
) -> TargetSimilarity:
    return TargetSimilarity(
        threshold=threshold,
        threshold_mode=ThresholdMode.ABSOLUTE,
        min_keep_fraction=min_keep_fraction,
        block_size=block_size,
    )


def curating_site(num_pairs: int = 40, *, passing_every: int = 2, **settings) -> Site:
    """A pool in which every n-th pair passes."""
    numbers = [FAILS if n % passing_every else PASSES for n in range(num_pairs)]
    return site(
        sign_vectors(numbers), TARGETS, **({"curator": curator(), "batch_size": 4} | settings)
    )


def schedule(**settings) -> CurateDuringTraining:
    defaults = {"curate_every": 2, "max_scan": 1000, "calibration_size": 10}
    return CurateDuringTraining(**defaults | settings)


def first_rounds(plan, place: Site, number: int, *, resume=None) -> list[Round]:
    return list(itertools.islice(plan.rounds(place, resume=resume), number))


def rows_of(round_: Round) -> list[int]:
    return round_.state.rows.tolist()


def batches_of(rounds: list[Round]) -> list[list[int]]:
    return [batch.tolist() for round_ in rounds for batch in round_.batches]


# --- the pool's traversal


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 3))
def test_each_pass_of_the_traversal_shows_every_pair_once(num_pairs, size, seed):
    position, shown = 0, []
    while position < 3 * num_pairs:
        block = traversal_block(num_pairs, position, size, seed=seed)
        assert 1 <= len(block) <= size
        shown += block.tolist()
        position += len(block)

    passes = [shown[start : start + num_pairs] for start in range(0, 3 * num_pairs, num_pairs)]
    assert all(sorted(one) == list(range(num_pairs)) for one in passes)


def test_passes_and_seeds_are_shuffled_differently():
    first, second, other_seed = (
        traversal_block(50, position, 50, seed=seed).tolist()
        for position, seed in ((0, 0), (50, 0), (0, 1))
    )

    assert first != second
    assert first != other_seed
    assert first == traversal_block(50, 0, 50, seed=0).tolist()


# --- one scan


def scanned(place: Site, *, start: int = 0, budget: int = 8, max_scan: int = 1000):
    return scan(place, place.curator, place.look(), start=start, budget=budget, max_scan=max_scan)


@pytest.mark.parametrize("budget", [1, 7, 8, 20])
def test_budget_is_kept_exactly(budget):
    selection, _, status = scanned(curating_site(), budget=budget)

    assert budget == len(selection.kept)
    assert status == "filled"


def test_scan_that_runs_out_of_pairs_says_so_and_ends():
    selection, position, status = scanned(curating_site(), budget=21)

    assert status == "pool_exhausted"
    assert len(selection.kept) == 20
    assert 40 == len(selection) == position


def test_scan_that_finds_nothing_ends():
    selection, _, status = scanned(curating_site(curator=curator(threshold=1.0)))

    assert status == "pool_exhausted"
    assert len(selection.kept) == 0


def test_scan_that_reaches_its_limit_says_so():
    selection, position, status = scanned(curating_site(), budget=20, max_scan=15)

    assert status == "scan_limit"
    assert 15 == len(selection) == position


@pytest.mark.parametrize("max_scan", [1, 12])
def test_scan_never_looks_at_more_than_its_limit(max_scan):
    selection, _, _ = scanned(curating_site(), budget=20, max_scan=max_scan)

    assert len(selection) <= max_scan


def test_every_pair_that_was_looked_at_is_accounted_for():
    place = curating_site(passing_every=1)

    selection, position, _ = scanned(place, budget=7)  # two blocks of five, all of which pass

    assert len(selection) == position == 10
    assert selection.count_by_reason() == {"dropped": 3, "threshold": 7, "relaxation": 0}


def test_budget_met_by_the_last_pair_is_filled():
    _, _, status = scanned(curating_site(), budget=20)

    assert status == "filled"


def test_scan_without_a_threshold_takes_the_traversal_as_it_comes():
    place = curating_site(curator=KeepAll())

    selection, position, _ = scanned(place, start=3, budget=6)

    assert traversal_block(40, 3, 6, seed=0).tolist() == selection.kept.rows.tolist()
    assert position == 3 + 2 * 4  # two blocks of a batch each


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40),
    st.sampled_from([-1.0, 0.0, 0.25, 0.5]),
    st.sampled_from([0.0, 0.2]),
    st.integers(1, 12),
    st.integers(0, 100),
    st.integers(1, 40),
    st.integers(1, 60),
)
def test_no_pair_is_looked_at_twice_in_one_scan_though_a_pass_ends_within_it(
    texts, threshold, fraction, block_size, start, budget, max_scan
):
    rule = curator(threshold=threshold, min_keep_fraction=fraction, block_size=block_size)
    place = site(sign_vectors(texts), TARGETS, curator=rule)

    selection, position, status = scanned(place, start=start, budget=budget, max_scan=max_scan)

    rows = selection.rows.tolist()
    assert len(rows) == len(set(rows))
    assert len(selection.kept) <= budget
    assert position >= start + len(rows)
    assert (status == "filled") == (len(selection.kept) == budget)


def test_scan_over_the_end_of_a_pass_looks_at_every_pair():
    place = curating_site(curator=curator(threshold=-1.0, block_size=7))

    selection, _, status = scanned(place, start=33, budget=1000)

    assert list(range(40)) == sorted(selection.rows.tolist())
    assert status == "pool_exhausted"


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(1, 15),
)
def test_blocks_shared_out_to_two_workers_give_what_one_process_gives(
    texts, threshold, fraction, block_size
):
    rule = curator(threshold=threshold, min_keep_fraction=fraction, block_size=block_size)
    place = site(sign_vectors(texts), TARGETS, curator=rule)
    single, _, _ = scanned(place, budget=1000)

    blocks = [
        traversal_block(len(texts), start, block_size, seed=0)
        for start in range(0, len(texts), block_size)
    ]
    kept: list[set[int]] = []
    for worker in (0, 1):
        parts = [rule.select(place.look()(block)) for block in blocks[worker::2]]
        kept.append(set(concatenate(parts).kept.rows.tolist()) if parts else set())

    assert set(single.kept.rows.tolist()) == kept[0] | kept[1]
    assert not kept[0] & kept[1]


@given(st.integers(1, 25), st.integers(1, 25))
def test_larger_budget_keeps_all_that_a_smaller_one_keeps_first(one, other):
    place = curating_site()

    small, large = (
        scanned(place, budget=budget)[0].kept.rows.tolist() for budget in sorted((one, other))
    )

    assert small == large[: len(small)]


# --- rounds of curation


def test_round_feeds_exactly_the_steps_it_should():
    rounds = first_rounds(schedule(curate_every=3), curating_site(), 2)

    assert [len(round_.batches) for round_ in rounds] == [3, 3]
    assert {4} == {len(batch) for round_ in rounds for batch in round_.batches}
    assert [len(round_.state.rows) for round_ in rounds] == [12, 12]
    assert [round_.state.index for round_ in rounds] == [0, 1]


def test_batches_are_the_kept_pairs_each_once():
    (round_,) = first_rounds(schedule(), curating_site(), 1)

    trained = [row for batch in round_.batches for row in batch.tolist()]
    assert sorted(rows_of(round_)) == sorted(trained)
    assert rows_of(round_) != trained  # shuffled
    assert all(row % 2 == 0 for row in trained)


def test_traversal_goes_on_across_rounds():
    # every pair passes: five rounds of eight are one pass over 40 pairs
    place = curating_site(passing_every=1, curator=curator(block_size=4))

    rounds = first_rounds(schedule(), place, 6)

    assert list(range(40)) == sorted(row for round_ in rounds[:5] for row in rows_of(round_))
    assert [round_.state.position for round_ in rounds] == [8, 16, 24, 32, 40, 48]
    assert traversal_block(40, 40, 8, seed=0).tolist() == rows_of(rounds[5])


def test_partial_batch_is_left_out():
    place = curating_site(num_pairs=20)  # ten pass: two batches of four

    (round_,) = first_rounds(schedule(curate_every=5), place, 1)

    assert len(round_.batches) == 2
    assert round_.statistics["status"] == "pool_exhausted"


@pytest.mark.parametrize(
    ("settings", "rule", "status"),
    [
        ({"curate_every": 2}, curator(), "filled"),
        ({"curate_every": 9}, curator(), "pool_exhausted"),
        ({"curate_every": 9, "max_scan": 20}, curator(), "scan_limit"),
    ],
)
def test_round_says_why_it_ended(settings, rule, status):
    (round_,) = first_rounds(schedule(**settings), curating_site(curator=rule), 1)

    assert status == round_.statistics["status"]


def test_round_that_keeps_less_than_a_batch_is_an_error():
    place = curating_site(curator=curator(threshold=1.0))

    with pytest.raises(CurationError, match="round 0 kept 0 of 40 candidates"):
        first_rounds(schedule(), place, 1)


def test_later_round_that_keeps_less_than_a_batch_is_an_error():
    texts = [PASSES] * 8 + [FAILS] * 40
    place = site(sign_vectors(texts), TARGETS, curator=curator(), batch_size=4)

    with pytest.raises(CurationError, match="round"):
        first_rounds(schedule(max_scan=5), place, 20)


@pytest.mark.parametrize("num_pairs", [0, 3])
@pytest.mark.parametrize("of_epochs", [False, True], ids=["rounds", "epochs"])
def test_pool_smaller_than_a_batch_is_an_error_that_names_the_batch(num_pairs, of_epochs):
    place = curating_site(num_pairs=num_pairs, curated=range(num_pairs))

    message = (
        f"the pool has {num_pairs} pairs, fewer than one batch of 4; lower training.batch_size"
    )
    with pytest.raises(CurationError, match=message):
        first_rounds(EpochsOverCuratedSet() if of_epochs else schedule(), place, 1)


def test_pool_of_exactly_one_batch_is_trained_on():
    place = curating_site(num_pairs=4, curated=range(4))

    (round_,) = first_rounds(EpochsOverCuratedSet(), place, 1)

    assert [sorted(batch.tolist()) for batch in round_.batches] == [[0, 1, 2, 3]]


def test_empty_pool_is_an_error_of_curation():
    place = site(np.zeros((0, 16), dtype=np.float32), TARGETS, curator=curator())

    with pytest.raises(CurationError):
        first_rounds(schedule(), place, 1)


def test_statistics_describe_the_round():
    place = curating_site(curated=[0, 2, 4])

    first, second = first_rounds(schedule(), place, 2)

    kept = set(rows_of(first))
    assert first.statistics["num_kept"] == 8
    assert len(first.selection) == first.statistics["num_scanned"]
    assert first.statistics["kept_by_threshold"] == 8
    assert first.statistics["target_drift"] == 0
    assert len(kept & {0, 2, 4}) / len(kept | {0, 2, 4}) == pytest.approx(
        first.statistics["overlap_with_curated_before_training"]
    )
    assert "overlap_with_previous_round" not in first.statistics
    assert second.statistics["overlap_with_previous_round"] == 0


def test_drift_shows_when_the_targets_move():
    moved = site(unit([1, 0], [1, 0]), unit([1, 0]), curator=curator(threshold=0.5), batch_size=2)
    place = Site(**vars(moved) | {"initial_targets": unit([0, 1])})

    (round_,) = first_rounds(schedule(), place, 1)

    assert pytest.approx(round_.statistics["target_drift"]) == 1


def test_relaxation_is_counted():
    place = curating_site(curator=curator(threshold=1.0, min_keep_fraction=0.4))

    (round_,) = first_rounds(schedule(), place, 1)

    assert round_.statistics["kept_by_threshold"] == 0
    assert round_.statistics["kept_by_relaxation"] == 8


def test_quantile_is_calibrated_anew_in_each_round():
    rule = TargetSimilarity(
        threshold=0.5, threshold_mode=ThresholdMode.QUANTILE, min_keep_fraction=0.0, block_size=5
    )
    place = site(
        unit(*np.random.default_rng(0).normal(size=(200, 4))),
        unit([1, 0, 0, 0]),
        curator=rule,
        batch_size=4,
    )

    rounds = first_rounds(schedule(curate_every=5, calibration_size=30), place, 3)

    assert len({round_.statistics["threshold"] for round_ in rounds}) == 3
    assert all(0.2 < round_.statistics["keep_fraction"] < 0.8 for round_ in rounds)


@pytest.mark.parametrize(
    "plan", [schedule(), EpochsOverCuratedSet()], ids=["during training", "before"]
)
def test_equal_seeds_give_equal_rounds_and_others_differ(plan):
    first, again, other = (
        batches_of(first_rounds(plan, curating_site(seed=seed, curated=range(0, 40, 3)), 4))
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


@pytest.mark.parametrize("interrupted_in", range(4))
@pytest.mark.parametrize(
    "plan", [schedule(), EpochsOverCuratedSet()], ids=["during training", "before"]
)
def test_resumed_rounds_equal_uninterrupted_ones(plan, interrupted_in):
    place = curating_site(curated=range(0, 40, 3))
    whole = first_rounds(plan, place, 6)

    resumed = first_rounds(plan, place, 6 - interrupted_in, resume=whole[interrupted_in].state)

    assert batches_of(whole[interrupted_in:]) == batches_of(resumed)
    for expected, found in zip(whole[interrupted_in:], resumed, strict=True):
        assert expected.state.index == found.state.index
        assert expected.state.position == found.state.position
        assert rows_of(expected) == rows_of(found)
    for expected, found in zip(whole[interrupted_in + 1 :], resumed[1:], strict=True):
        assert expected.statistics == found.statistics


def test_round_in_progress_is_not_decided_again():
    place = curating_site()
    state = first_rounds(schedule(), place, 1)[0].state

    resumed = first_rounds(schedule(), place, 2, resume=state)

    assert resumed[0].selection is None
    assert resumed[0].statistics == {}
    assert resumed[1].selection is not None


# --- epochs


def test_epoch_is_a_shuffled_pass_over_the_curated_set():
    curated = [3, 1, 4, 15, 9, 26, 5, 35]
    rounds = first_rounds(EpochsOverCuratedSet(), curating_site(curated=curated), 3)

    assert [len(round_.batches) for round_ in rounds] == [2, 2, 2]
    for round_ in rounds:
        assert sorted(curated) == sorted(row for batch in round_.batches for row in batch.tolist())
    assert len({str(batches_of([round_])) for round_ in rounds}) == 3


def test_epoch_decides_nothing_new():
    (round_,) = first_rounds(EpochsOverCuratedSet(), curating_site(curated=range(9)), 1)

    assert round_.selection is None
    assert round_.statistics == {}
    assert len(round_.batches) == 2  # nine pairs hold two batches of four


def test_curated_set_smaller_than_a_batch_is_an_error():
    with pytest.raises(CurationError, match="the curated set kept 3 of 40 candidates"):
        first_rounds(EpochsOverCuratedSet(), curating_site(curated=[1, 2, 3]), 1)
