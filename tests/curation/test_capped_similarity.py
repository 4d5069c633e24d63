import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import candidates, sign_vectors
from vl_pipeline.curation.capped_similarity import CappedSimilarity
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode

TARGETS = sign_vectors([0, 255, 4095])
CLOSE = TargetSimilarity(
    threshold=0.2, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.0, block_size=8
)
pools = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=60).map(sign_vectors)


def capped(cap: int, seed: int = 0) -> CappedSimilarity:
    return CappedSimilarity(similarity=CLOSE, max_per_text=cap, seed=seed)


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


def test_a_sample_stands_for_the_pool():
    everything = candidates(np.repeat(TARGETS, 400, axis=0), TARGETS)
    sample = dataclasses.replace(everything, rows=np.arange(0, 1200, 4))

    kept = capped(100).calibrate(sample).select(everything).kept

    # a quarter of the pool draws 25 a text: the limit is the 25th of 100 draws, 0.25 +- 0.043
    counts = np.bincount(kept.nearest_target)
    assert (np.abs(counts - 100) < 60).all()
