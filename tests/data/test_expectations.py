import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import pool_table
from tests.projects import ROOT
from vl_pipeline.data.expectations import Expectations, drop_pairs
from vl_pipeline.data.ledger import count_by_rule

BASE = yaml.safe_load((ROOT / "conf/base/parameters_expectations.yml").read_text())
LIMITS = {
    "caption_too_short": {"min_value": 3},
    "caption_too_long": {"max_value": 5},
    "image_too_small": {"min_value": 10},
    "image_too_narrow": {"max_value": 3.0},
}
DEFAULTS = Expectations.model_validate(
    {name: entry | LIMITS.get(name, {}) for name, entry in BASE["expectations"].items()}
)


def dropping(expectation: str, **settings: object) -> dict[str, object]:
    return {"expectation": expectation, "on_breach": "drop", **settings}


def expectations_of(**entries: dict[str, object]) -> Expectations:
    return Expectations.model_validate(entries)


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

    kept, ledger = drop_pairs(pairs, DEFAULTS)

    assert (0 if rule else 1) == kept.num_rows
    assert ([rule] if rule else []) == ledger["rule"].to_pylist()


def test_pair_is_charged_to_the_first_entry_it_breaks():
    pairs = pool_table(1, caption=["ab"], width=[100], height=[1])  # short, small and narrow
    backwards = Expectations.model_validate(dict(reversed(list(DEFAULTS.root.items()))))

    _, ledger = drop_pairs(pairs, DEFAULTS)
    _, ledger_of_backwards = drop_pairs(pairs, backwards)

    assert count_by_rule(ledger) == {"caption_too_short": 1}
    assert count_by_rule(ledger_of_backwards) == {"image_too_narrow": 1}


@pytest.mark.parametrize(
    ("settings", "columns", "value", "limit"),
    [
        (
            {"expectation": "expect_column_value_lengths_to_be_between", "column": "caption",
             "min_value": 4, "max_value": 7, "strict_max": True},
            {"caption": ["abc"]}, "3", ">= 4 and < 7 characters",
        ),
        (
            {"expectation": "ExpectColumnValuesToBeBetween", "column": "aspect", "max_value": 3},
            {"width": [100], "height": [30]}, "3.333", "aspect <= 3",
        ),
        (
            {"expectation": "expect_column_values_to_be_in_set", "column": "shard",
             "value_set": ["1.tar", "2.tar"]},
            {}, "0.tar", "shard is one of '1.tar', '2.tar'",
        ),
        (
            {"expectation": "expect_column_values_to_not_be_in_set", "column": "width",
             "value_set": [64]},
            {}, "64", "width is none of 64",
        ),
        (
            {"expectation": "expect_column_values_to_not_be_null", "column": "url"},
            {}, "null", "url is there",
        ),
        (
            {"expectation": "expect_column_values_to_match_regex", "column": "caption",
             "regex": "^[a-z ]+$"},
            {"caption": ["No. 5" * 100]}, "No. 5" * 40, "caption matches ^[a-z ]+$",
        ),
        (
            {"expectation": "expect_column_values_to_not_match_regex", "column": "caption",
             "regex": r"(?i)\bstock photo\b"},
            {"caption": ["A Stock Photo of rain"]},
            "A Stock Photo of rain", r"caption does not match (?i)\bstock photo\b",
        ),
        (
            {"expectation": "expect_column_values_to_match_regex_list", "column": "caption",
             "regex_list": ["a", "b"], "match_on": "all"},
            {"caption": ["aa"]}, "aa", "caption matches all of a, b",
        ),
        (
            {"expectation": "expect_column_values_to_not_match_regex_list", "column": "caption",
             "regex_list": ["a", "b"]},
            {"caption": ["xb"]}, "xb", "caption matches none of a, b",
        ),
        (
            {"expectation": "expect_column_pair_values_a_to_be_greater_than_b",
             "column_A": "height", "column_B": "width", "or_equal": True},
            {}, "48, 64", "height >= width",
        ),
        (
            {"expectation": "ExpectColumnPairValuesToBeEqual",
             "column_A": "height", "column_B": "width"},
            {}, "48, 64", "height = width",
        ),
    ],
)  # fmt: skip
def test_ledger_says_what_was_found_and_what_is_accepted(settings, columns, value, limit):
    pairs = pool_table(1, **columns)

    kept, ledger = drop_pairs(pairs, expectations_of(mine=settings | {"on_breach": "drop"}))

    assert kept.num_rows == 0
    (row,) = ledger.to_pylist()
    assert {
        "stage": "screen",
        "shard": "0.tar",
        "key": "00000",
        "uid": pairs["uid"][0].as_py(),
        "rule": "mine",
        "value": value,
        "limit": limit,
    } == row


def test_first_of_equal_pairs_stays():
    pairs = pool_table(4, caption=["four"] * 4, uid=["aa", "bb", "aa", "aa"])

    kept, ledger = drop_pairs(pairs, DEFAULTS)

    assert kept["key"].to_pylist() == ["00000", "00001"]
    assert ledger["key"].to_pylist() == ["00002", "00003"]
    assert count_by_rule(ledger) == {"repeated_pair": 2}


def test_a_pair_is_no_repetition_of_one_that_was_dropped_before_it():
    pairs = pool_table(3, caption=["a cat"] * 3, width=[5, 64, 64])
    small = dropping("expect_column_values_to_be_between", column="width", min_value=10)
    once = dropping("expect_column_values_to_be_unique", column="caption")

    kept, ledger = drop_pairs(pairs, expectations_of(small=small, once=once))

    assert kept["key"].to_pylist() == ["00001"]
    assert ledger["rule"].to_pylist() == ["small", "once"]


def test_an_entry_that_stops_drops_nothing():
    stops = dropping("expect_column_values_to_be_unique", column="caption") | {"on_breach": "stop"}

    kept, _ = drop_pairs(pool_table(2, caption=["a cat"] * 2), expectations_of(once=stops))

    assert kept.num_rows == 2


def test_kept_pairs_keep_their_order_and_columns():
    pairs = pool_table(3, caption=["four", "ab", "five"])

    kept, _ = drop_pairs(pairs, DEFAULTS)

    assert pairs.take([0, 2]).equals(kept.combine_chunks())


def test_ledger_is_in_the_order_of_the_pool():
    pairs = pool_table(3, caption=["abcdef", "ab", "abcdefg"])

    _, ledger = drop_pairs(pairs, DEFAULTS)

    assert ledger["key"].to_pylist() == ["00000", "00001", "00002"]


def test_empty_pool_passes():
    kept, ledger = drop_pairs(pool_table(0), DEFAULTS)

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

    kept, ledger = drop_pairs(pairs, DEFAULTS)

    keys = kept["key"].to_pylist() + ledger["key"].to_pylist()
    assert pairs["key"].to_pylist() == sorted(keys)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"on_breach": "drop"}, r"mine.expectation\s+Field required"),
        (dropping("expect_column_values_to_be_unique", column="uid", on_breach="warn"), "'warn'"),
        (dropping("expect_column_values_to_be_unique", column="uid", severity="bad"), "'bad'"),
        (
            dropping("expect_column_mean_to_be_between", column="width", min_value=5),
            r"expectations.mine: .*expect_column_mean_to_be_between, which cannot drop pairs; "
            r"these can: expect_column_values_to_not_be_null, .*on_breach: stop",
        ),
        (
            dropping("expect_column_values_to_be_between", column="aspect", max_value="wide"),
            r"expectations.mine: max_value.* is 'wide'.* takes column, min_value, max_value",
        ),
        (
            dropping("expect_column_values_to_be_between", column="aspect", mininum=3),
            r"mininum is 3.* takes column, min_value",
        ),
        (
            dropping("expect_column_values_to_be_between", column="aspect"),
            "neither min_value nor max_value",
        ),
        (
            dropping(
                "expect_column_values_to_be_between", column="width", min_value=3, max_value=1
            ),
            "min_value 3 lies above max_value 1",
        ),
        (
            dropping("expect_column_values_to_be_unique", column="colour"),
            r"no column 'colour' in the table pairs, which has uid, .*bytes_per_pixel",
        ),
        (
            dropping("expect_column_values_to_be_unique", column="uid", mostly=0.9),
            "mostly is 0.9, but each pair that breaks an entry is dropped",
        ),
        (
            dropping("expect_column_values_to_be_unique", column="kept", table="accounts"),
            "table is accounts; only pairs can be dropped",
        ),
        (
            dropping("expect_column_values_to_be_between", column="caption", min_value=3),
            "does not fit a column of type string",
        ),
        (
            dropping("expect_column_value_lengths_to_be_between", column="width", min_value=3),
            "column width is of type int32; this needs text",
        ),
        (
            dropping("expect_column_values_to_be_in_set", column="width", value_set=["wide"]),
            "does not fit a column of type int32",
        ),
        (
            dropping("expect_column_values_to_match_regex", column="caption", regex="(a"),
            r"regex '\(a' is not one: missing \)",
        ),
        (
            dropping("expect_column_values_to_match_regex_list", column="caption", regex_list=[]),
            "regex_list is empty",
        ),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_and_the_message_names_it(entry, message):
    with pytest.raises(ValidationError, match="(?s)" + message):
        expectations_of(mine=entry)
