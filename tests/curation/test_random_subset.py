import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import pool_table
from vl_pipeline.curation.random_subset import RandomSubset
from vl_pipeline.curation.selection import Candidates

POOL = pool_table(400)


def block(rows, pool: pa.Table = POOL) -> Candidates:
    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("a random choice needs no features")

    return Candidates(
        rows=np.array(rows, dtype=np.int64),
        pool=pool,
        target_texts=[],
        encode_captions=refuse,
        encode_targets=refuse,
    )


def kept_uids(pool: pa.Table, rule: RandomSubset, rows=None) -> set[str]:
    rows = np.arange(pool.num_rows) if rows is None else rows
    kept = rule.select(block(rows, pool)).kept.rows
    return set(pool["uid"].take(kept).to_pylist())


@given(st.permutations(range(30)), st.integers(1, 30), st.integers(0, 5))
def test_choice_depends_neither_on_order_nor_on_blocks(order, size, seed):
    rule = RandomSubset(keep_fraction=0.5, seed=seed)
    pool = POOL.slice(0, 30)

    together = kept_uids(pool, rule)
    in_blocks = set().union(
        *(kept_uids(pool, rule, order[start : start + size]) for start in range(0, 30, size))
    )
    reordered = kept_uids(pool.take(order), rule)

    assert together == in_blocks == reordered


def test_choice_of_a_pair_does_not_depend_on_the_rest_of_the_pool():
    rule = RandomSubset(keep_fraction=0.5, seed=0)

    assert kept_uids(POOL.slice(100), rule) <= kept_uids(POOL, rule)


def test_equal_seeds_choose_alike_and_others_differ():
    first, again, other = (
        kept_uids(POOL, RandomSubset(keep_fraction=0.5, seed=seed)) for seed in (1, 1, 2)
    )

    assert first == again
    # two independent halves of 400 agree on 100 +- 10 kept pairs
    assert 60 < len(first & other) < 140


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_share_is_within_binomial_bounds(fraction):
    selection = RandomSubset(keep_fraction=fraction, seed=3).select(block(range(400)))

    four_sigma = 4 * (400 * fraction * (1 - fraction)) ** 0.5
    assert 400 * fraction == pytest.approx(selection.keep.sum(), abs=four_sigma)
    assert selection.keep.sum() + selection.count_by_reason()["dropped"] == 400


def test_larger_share_contains_the_smaller():
    assert kept_uids(POOL, RandomSubset(keep_fraction=0.2, seed=0)) <= kept_uids(
        POOL, RandomSubset(keep_fraction=0.3, seed=0)
    )


def test_all_and_none():
    assert len(kept_uids(POOL, RandomSubset(keep_fraction=1.0, seed=0))) == 400
    assert len(kept_uids(POOL, RandomSubset(keep_fraction=0.0, seed=0))) == 0


def test_empty_block_is_answered():
    assert len(RandomSubset(keep_fraction=0.5, seed=0).select(block([]))) == 0


def test_nothing_is_calibrated():
    rule = RandomSubset(keep_fraction=0.5, seed=0)

    assert rule is rule.calibrate(block([0]))
    assert rule.block_size is None
