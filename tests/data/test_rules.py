import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import pool_table
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.rules import PairRules, apply_pair_rules

RULES = PairRules(
    min_caption_characters=3, max_caption_characters=5, min_side_px=10, max_aspect=3.0
)


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"caption": ["ab"]}, "caption_too_short"),
        ({"caption": ["abc"]}, None),
        ({"caption": ["日本"]}, "caption_too_short"),  # characters are counted, not bytes
        ({"caption": ["日本語"]}, None),
        ({"caption": ["abcde"]}, None),
        ({"caption": ["日本語日本"]}, None),
        ({"caption": ["abcdef"]}, "caption_too_long"),
        ({"width": [9], "height": [20]}, "image_too_small"),
        ({"width": [20], "height": [9]}, "image_too_small"),
        ({"width": [10], "height": [20]}, None),
        ({"width": [30], "height": [10]}, None),
        ({"width": [31], "height": [10]}, "image_too_narrow"),
        ({"width": [10], "height": [31]}, "image_too_narrow"),
    ],
)
def test_pair_on_a_limit_is_kept_and_one_beyond_is_charged_to_its_rule(columns, rule):
    pairs = pool_table(1, **({"caption": ["four"]} | columns))

    kept, ledger = apply_pair_rules(pairs, RULES)

    assert (0 if rule else 1) == kept.num_rows
    assert ([rule] if rule else []) == ledger["rule"].to_pylist()


def test_pair_is_charged_to_the_first_rule_it_breaks():
    pairs = pool_table(1, caption=["ab"], width=[100], height=[1])  # short, small and narrow

    _, ledger = apply_pair_rules(pairs, RULES)

    assert count_by_rule(ledger) == {"caption_too_short": 1}


def test_ledger_says_what_was_found_and_what_is_accepted():
    pairs = pool_table(1, caption=["four"], width=[100], height=[30])

    _, ledger = apply_pair_rules(pairs, RULES)

    (row,) = ledger.to_pylist()
    assert {
        "stage": "screen",
        "shard": "0.tar",
        "key": "00000",
        "uid": pairs["uid"][0].as_py(),
        "rule": "image_too_narrow",
        "value": "3.333",
        "limit": "<= 3.0 to 1",
    } == row


def test_first_of_equal_pairs_stays():
    pairs = pool_table(4, caption=["four"] * 4, uid=["aa", "bb", "aa", "aa"])

    kept, ledger = apply_pair_rules(pairs, RULES)

    assert kept["key"].to_pylist() == ["00000", "00001"]
    assert ledger["key"].to_pylist() == ["00002", "00003"]
    assert count_by_rule(ledger) == {"repeated_pair": 2}


def test_kept_pairs_keep_their_order_and_columns():
    pairs = pool_table(3, caption=["four", "ab", "five"])

    kept, _ = apply_pair_rules(pairs, RULES)

    assert pairs.take([0, 2]).equals(kept.combine_chunks())


def test_ledger_is_in_the_order_of_the_pool():
    pairs = pool_table(3, caption=["abcdef", "ab", "abcdefg"])

    _, ledger = apply_pair_rules(pairs, RULES)

    assert ledger["key"].to_pylist() == ["00000", "00001", "00002"]


def test_empty_pool_passes():
    kept, ledger = apply_pair_rules(pool_table(0), RULES)

    assert kept.num_rows == 0
    assert ledger.num_rows == 0


@given(
    st.lists(
        st.tuples(st.text("ab", max_size=7), st.integers(1, 40), st.integers(1, 40)), max_size=12
    )
)
def test_every_pair_is_either_kept_or_in_the_ledger_once(drawn):
    captions, widths, heights = zip(*drawn, strict=True) if drawn else ((), (), ())
    pairs = pool_table(len(drawn), caption=list(captions), width=list(widths), height=list(heights))

    kept, ledger = apply_pair_rules(pairs, RULES)

    keys = kept["key"].to_pylist() + ledger["key"].to_pylist()
    assert pairs["key"].to_pylist() == sorted(keys)


def test_unknown_rule_is_refused():
    with pytest.raises(ValidationError):
        PairRules(
            min_caption_characters=3,
            max_caption_characters=5,
            min_side_px=10,
            max_aspect=3.0,
            min_aspect=1.0,  # pyright: ignore[reportCallIssue]
        )
