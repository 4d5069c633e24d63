import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import captioned
from vl_pipeline.curation.balanced_keywords import BalancedKeywords
from vl_pipeline.curation.named_in_caption import NamedInCaption

TEXTS = ["cat", "dog", "owl"]
captions = st.lists(st.sets(st.sampled_from(TEXTS)).map(" ".join), min_size=1, max_size=40)


def kept(pool: list[str], rule: BalancedKeywords, texts=TEXTS, rows=None) -> set[int]:
    calibrated = rule.calibrate(captioned(pool, texts))
    return set(calibrated.select(captioned(pool, texts, rows)).kept.rows.tolist())


@given(captions, st.integers(1, 5), st.integers(0, 3))
def test_each_text_draws_its_cap_or_all_there_are(pool, cap, seed):
    for text in TEXTS:
        naming = {n for n, caption in enumerate(pool) if text in caption}

        drawn = kept(pool, BalancedKeywords(max_per_text=cap, seed=seed), [text])

        assert drawn <= naming
        assert min(cap, len(naming)) == len(drawn)


@given(captions, st.integers(1, 5), st.permutations(TEXTS))
def test_what_is_kept_is_what_the_texts_draw_one_by_one_in_any_order(pool, cap, order):
    rule = BalancedKeywords(max_per_text=cap, seed=0)

    one_by_one = set().union(*(kept(pool, rule, [text]) for text in TEXTS))

    assert one_by_one == kept(pool, rule) == kept(pool, rule, order)
    assert one_by_one == kept(pool, rule, [*order, *order])


@given(captions, st.integers(1, 10))
def test_blocks_of_any_size_keep_the_same(pool, size):
    rule = BalancedKeywords(max_per_text=2, seed=0)
    rows = range(len(pool))

    in_blocks = set().union(
        *(kept(pool, rule, rows=rows[start : start + size]) for start in range(0, len(pool), size))
    )

    assert kept(pool, rule) == in_blocks


def test_a_cap_above_every_count_is_the_rule_without_a_cap():
    pool = ["a cat", "no", "dogs", "cat and dog"]

    selection = NamedInCaption().select(captioned(pool, TEXTS))

    assert set(selection.kept.rows.tolist()) == kept(pool, BalancedKeywords(max_per_text=9, seed=0))


def test_a_larger_cap_keeps_more_of_the_same():
    pool = ["cat"] * 50

    small, large = (kept(pool, BalancedKeywords(max_per_text=n, seed=0)) for n in (10, 20))

    assert small < large


@pytest.mark.parametrize("seed", [1, 2])
def test_the_draw_is_even_over_the_pool(seed):
    pool = ["cat"] * 2000

    rows = np.array(sorted(kept(pool, BalancedKeywords(max_per_text=1000, seed=seed))))

    # the mean of 1,000 of 2,000 numbers drawn without replacement: 999.5 +- 13 (one sd)
    assert pytest.approx(rows.mean(), abs=60) == 999.5
