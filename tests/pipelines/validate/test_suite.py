"""What pyarrow and Great Expectations say of the same table, and what neither is asked to run."""

import great_expectations as gx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import pool_table
from vl_pipeline.data.expectations import Expectation, Expectations, drop_pairs
from vl_pipeline.data.measures import with_measures
from vl_pipeline.data.pair_expectations import PAIR_EXPECTATIONS
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.errors import ParameterError
from vl_pipeline.pipelines.validate.contract import check_contract
from vl_pipeline.pipelines.validate.suite import build, in_words, require_known

CAPTIONS = st.none() | st.text(alphabet="ab1é日\u0661 \n\v.", max_size=5)
SIDES = st.none() | st.integers(0, 5)
ROWS = st.lists(st.tuples(CAPTIONS, CAPTIONS, SIDES, SIDES), min_size=5, max_size=24)
REGEXES = st.sampled_from(
    [
        "a",
        "^a",
        "b$",
        r"b\Z",
        r"\d",
        r"\w\w",
        r"\s",
        r"\bb",
        "(?i)É",
        "[^a]",
        "a(?=b)",
        "(a|b)1",
        "",
    ]
)
TEXTS = st.sampled_from(["caption", "url"])
NUMBERS = st.sampled_from(["width", "aspect", "pixels", "caption_characters", "caption_words"])
BOUNDS = st.none() | st.integers(0, 4) | st.sampled_from([0.5, 1.5])


@st.composite
def bounds(draw, numbers) -> dict[str, object]:
    low, high = draw(numbers), draw(numbers)
    if low is None and high is None:
        low = 2
    if None not in (low, high):
        low, high = sorted([low, high])
    given = {"min_value": low, "max_value": high}
    flags = {"strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}
    return {name: value for name, value in given.items() if value is not None} | flags


def either(**strategies) -> st.SearchStrategy:
    return st.fixed_dictionaries(strategies)


def merged(*parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(*parts).map(lambda dicts: {k: v for part in dicts for k, v in part.items()})


SETS = either(column=TEXTS, value_set=st.lists(st.text("ab", max_size=2), max_size=3)) | either(
    column=st.sampled_from(["width", "aspect"]), value_set=st.lists(st.integers(0, 5), max_size=3)
)
COLUMN_PAIRS = either(
    column_A=st.sampled_from(["width", "height"]),
    column_B=st.sampled_from(["height", "pixels", "aspect"]),
) | either(column_A=st.just("caption"), column_B=st.just("url"))
SETTINGS = {
    "expect_column_values_to_not_be_null": either(column=TEXTS | NUMBERS),
    "expect_column_value_lengths_to_be_between": merged(
        either(column=TEXTS), bounds(st.none() | st.integers(0, 4))
    ),
    "expect_column_values_to_be_between": merged(either(column=NUMBERS), bounds(BOUNDS)),
    "expect_column_values_to_be_in_set": SETS,
    "expect_column_values_to_not_be_in_set": SETS,
    "expect_column_values_to_match_regex": either(column=TEXTS, regex=REGEXES),
    "expect_column_values_to_not_match_regex": either(column=TEXTS, regex=REGEXES),
    "expect_column_values_to_match_regex_list": either(
        column=TEXTS,
        regex_list=st.lists(REGEXES, min_size=1, max_size=3),
        match_on=st.sampled_from(["any", "all"]),
    ),
    "expect_column_values_to_not_match_regex_list": either(
        column=TEXTS, regex_list=st.lists(REGEXES, min_size=1, max_size=3)
    ),
    "expect_column_values_to_be_unique": either(column=TEXTS | NUMBERS),
    "expect_column_pair_values_a_to_be_greater_than_b": merged(
        COLUMN_PAIRS, either(or_equal=st.booleans())
    ),
    "expect_column_pair_values_to_be_equal": COLUMN_PAIRS,
}


@pytest.fixture(scope="module")
def batches():
    """Something that gives a batch of Great Expectations of a data frame."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pairs").add_dataframe_asset("pairs")
    definition = asset.add_batch_definition_whole_dataframe("pairs")
    return lambda frame: definition.get_batch({"dataframe": frame})


def pairs_of(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    names = ("caption", "url", "width", "height")
    return pool_table(len(rows), **{n: list(c) for n, c in zip(names, columns, strict=True)})


def test_every_expectation_that_can_drop_is_compared():
    assert set(SETTINGS) == set(PAIR_EXPECTATIONS)


@pytest.mark.filterwarnings("ignore:This pattern is interpreted")
@pytest.mark.parametrize("expectation", SETTINGS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), rows=ROWS)
def test_pyarrow_and_great_expectations_agree_on_every_row(expectation, batches, data, rows):
    entry = Expectation.model_validate(
        {"expectation": expectation, "on_breach": "drop", **data.draw(SETTINGS[expectation])}
    )
    table = with_measures(pairs_of(rows), entry.columns())

    verdict = entry.per_pair().judge(table, np.ones(len(rows), dtype=bool))
    result = batches(table.to_pandas()).validate(build(entry), result_format="COMPLETE")

    assert not any(info["raised_exception"] for info in _infos(result))
    found = result.result.get("unexpected_index_list") or []
    ours = np.flatnonzero(verdict.breaks).tolist()
    if expectation == "expect_column_values_to_be_unique":  # it counts the first one too
        values = table[entry.columns()[0]].to_pandas()
        ours = sorted({*ours, *(n for n, v in enumerate(values) if v in set(values[ours]))})
    assert found == ours
    assert result.success == (not ours)


@settings(max_examples=8, deadline=None)
@given(rows=ROWS, column=TEXTS | NUMBERS)
def test_after_dropping_great_expectations_finds_each_value_once(rows, column):
    once = {
        "expectation": "expect_column_values_to_be_unique", "column": column, "on_breach": "drop"
    }  # fmt: skip
    entries = Expectations.model_validate({"once": once})

    kept, ledger = drop_pairs(pairs_of(rows), entries)
    result = check_contract(kept, num_listed=len(rows), ledger=ledger, expectations=entries)

    assert result.expectations[0]["success"]


def _infos(result) -> list[dict]:
    info = result.exception_info
    return [info] if "raised_exception" in info else list(info.values())


def stopping(expectation: str, **entry: object) -> dict[str, object]:
    return {"expectation": expectation, "on_breach": "stop", **entry}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            stopping("expect_column_value_to_be_unique", column="uid"),
            r"expectations.mine: expectation is expect_column_value_to_be_unique, which Great "
            r"Expectations does not know; near to it are expect_column_values_to_be_unique",
        ),
        (
            stopping("expect_column_mean_to_be_between", column="width", minimum=3),
            r"expectations.mine: expect_column_mean_to_be_between takes no minimum; it takes "
            r"column, condition_parser, max_value, min_value, .*parameters_expectations.yml",
        ),
        (
            stopping("ExpectColumnValuesToBeUnique", column="uid", catch_exceptions=False),
            "takes no catch_exceptions",
        ),
        (
            stopping("expect_column_mean_to_be_between", column="width", mostly=0.9, min_value=1),
            "takes no mostly",
        ),
        (
            stopping("expect_column_max_to_be_between", column="width", max_value="wide"),
            r"expectations.mine: expect_column_max_to_be_between refuses .*'wide'.*it takes column",
        ),
        (
            stopping("expect_column_max_to_be_between", column="kept", max_value=1),
            "no column 'kept'",
        ),
    ],
)
def test_what_great_expectations_does_not_know_is_refused_before_anything_runs(entry, message):
    with pytest.raises(ValueError, match="(?s)" + message):
        require_known(Expectations.model_validate({"mine": entry}))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (stopping("expect_column_mean_to_be_between", column="caption_words", min_value=3),
         "mean of caption_words >= 3"),
        (stopping("expect_column_max_to_be_between", table="accounts", column="kept", max_value=9),
         "kept <= 9"),
        (stopping("expect_column_values_to_be_between", column="aspect", max_value=3, mostly=0.95),
         "aspect <= 3, in at least 0.95 of all"),
        (stopping("ExpectCompoundColumnsToBeUnique", column_list=["shard", "key"]),
         "each shard with key once"),
        (stopping("expect_column_values_to_be_unique", column="uid", row_condition="width > 3"),
         "column values to be unique: column uid, row_condition width > 3"),
    ],
)  # fmt: skip
def test_what_is_expected_is_said_from_the_settings(entry, words):
    assert words == in_words(Expectation.model_validate(entry))


def test_an_entry_cannot_take_the_place_of_a_promise():
    entry = stopping("expect_column_values_to_be_unique", column="uid", severity="info")

    with pytest.raises(ParameterError, match=r"expectations.uid_is_unique: .*take another"):
        require_known(Expectations.model_validate({"uid_is_unique": entry}))


def test_a_name_that_no_record_takes_is_refused_before_anything_runs():
    entry = stopping("expect_column_values_to_not_be_null", column="caption")

    with pytest.raises(ParameterError, match=r"expectations.not \(c\) claimed: its name has more"):
        require_known(Expectations.model_validate({"not (c) claimed": entry}))


def test_every_column_of_a_pair_can_be_asked_about():
    entries = {
        name: stopping("expect_column_values_to_not_be_null", column=name)
        for name in PAIR_SCHEMA.names
    }

    require_known(Expectations.model_validate(entries))
