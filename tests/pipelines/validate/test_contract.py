import json
import re
import subprocess
import sys

import pyarrow as pa
import pytest
import yaml

from tests.projects import ROOT
from vl_pipeline.data.expectations import Expectations
from vl_pipeline.data.ledger import LEDGER_SCHEMA, Rejection, ledger_of
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.pipelines.validate.contract import ContractResult, check_contract

BASE = yaml.safe_load((ROOT / "conf/base/parameters_expectations.yml").read_text())["expectations"]
LIMITS = {
    "caption_too_short": {"min_value": 3},
    "caption_too_long": {"max_value": 40},
    "image_too_small": {"min_value": 32},
    "image_too_narrow": {"max_value": 3.0},
    "enough_pairs": {"min_value": 2},
    "not_too_many_rejected": {"max_value": 0.5},
}
NOTHING = LEDGER_SCHEMA.empty_table()
KEY_ONCE = "each shard with key once"


def pool_of(num_pairs: int) -> pa.Table:
    rows = [
        {
            "uid": f"{n:032x}",
            "shard": "000.tar",
            "key": f"{n:05}",
            "image_offset": 512 * (n + 1),
            "image_bytes": 400,
            "image_hash": f"{1000 + n:032x}",
            "perceptual_hash": n.to_bytes(32, "big"),
            "colour_grid": n.to_bytes(48, "big"),
            "width": 64,
            "height": 48,
            "caption": f"caption number {n}",
            "url": None,
        }
        for n in range(num_pairs)
    ]
    return pa.Table.from_pylist(rows, schema=PAIR_SCHEMA)


def with_changes(pool: pa.Table, *changes: dict[str, object]) -> pa.Table:
    """Change the first pair by the first of `changes`, the second by the second, and so on."""
    rows = pool.to_pylist()
    changed = [row | change for row, change in zip(rows, changes, strict=False)]
    return pa.Table.from_pylist(changed + rows[len(changes) :], schema=PAIR_SCHEMA)


def ledger_with(num_rejected: int, rule: str = "image_too_small") -> pa.Table:
    rejections = [
        Rejection(shard="000.tar", key=f"r{n}", rule=rule, value="8", limit=">= 32 px")
        for n in range(num_rejected)
    ]
    return ledger_of("validate", rejections)


def defaults(**changes: dict[str, object]) -> Expectations:
    """The project's own entries, at this test's limits; `changes` are laid over them by name."""
    names = dict.fromkeys([*BASE, *changes])
    return Expectations.model_validate(
        {n: BASE.get(n, {}) | LIMITS.get(n, {}) | changes.get(n, {}) for n in names}
    )


def check(
    pool: pa.Table, ledger: pa.Table = NOTHING, **changes: dict[str, object]
) -> ContractResult:
    return check_contract(
        pool,
        num_listed=pool.num_rows + ledger.num_rows,
        ledger=ledger,
        expectations=defaults(**changes),
    )


def failed(result: ContractResult) -> list[tuple[str, str | None]]:
    return [(o["table"], o["column"]) for o in result.failed]


def test_a_whole_pool_keeps_its_contract():
    result = check(pool_of(5))

    assert failed(result) == []
    assert result.breach is None


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (
            [
                {"uid": f"{9:032x}"},
                {"uid": f"{9:032x}"},
                {"image_hash": "not a hash"},
                {"caption": None},
                {"width": 31, "height": 31},
                {"image_offset": -1},
            ],
            [
                ("caption", "never null", 1),
                ("image_hash", "32 hexadecimal digits, lower case", 1),
                ("uid", "each uid once", 2),  # as the entry says that drops them
                ("uid", "each once in the pool", 2),  # as every later stage relies on
                ("shorter_side_px", "shorter_side_px >= 32", 1),
                ("image_offset", "not negative", 1),
            ],
        ),
        (
            [
                {"uid": f"{10:032X}"},
                {"uid": f"{11:032x}\n"},
                {"uid": f"{12:031x}"},
                {"key": "00004"},
                {"image_bytes": 0},
                {"caption": "ab"},
                {"width": 200, "height": 50},
            ],
            [
                ("uid", "32 hexadecimal digits, lower case", 3),
                ("shard, key", KEY_ONCE, 2),
                ("caption", ">= 3 characters", 1),
                ("aspect", "aspect <= 3.0", 1),
                ("image_bytes", "positive", 1),
            ],
        ),
        (
            [
                {"uid": None},
                {"shard": None},
                {"key": None},
                {"image_hash": None},
                {"caption": "x" * 41},
                {"caption": "\u3000\u00a0 \n"},
                {"width": None},
                {"width": 0, "height": 0},
            ],
            [
                ("uid", "never null", 1),
                ("shard", "never null", 1),
                ("key", "never null", 1),
                ("image_hash", "never null", 1),
                ("width", "never null", 1),
                ("caption", "<= 40 characters", 1),
                ("visible_characters", "visible_characters >= 1", 1),
                ("shorter_side_px", "shorter_side_px >= 32", 1),
            ],
        ),
    ],
)
def test_each_broken_pair_fails_the_expectation_about_it_and_no_other(changes, broken):
    result = check(with_changes(pool_of(9), *changes))

    outcomes = [(o["column"], o["expected"], o["unexpected_count"]) for o in result.failed]
    assert sorted(broken) == sorted(outcomes)


def test_pairs_on_a_limit_keep_the_contract():
    on_limits = [
        {"caption": "abc"},
        {"caption": "é" * 40},
        {"width": 32, "height": 32},
        {"width": 96, "height": 32},
        {"url": "http://example.org/a.jpg"},
    ]

    assert failed(check(with_changes(pool_of(5), *on_limits))) == []


def test_a_column_of_another_type_fails():
    pool = pool_of(5)
    widths = pool["width"].cast(pa.int64())

    result = check(pool.set_column(pool.column_names.index("width"), "width", widths))

    assert failed(result) == [("columns", "width")]
    assert "columns.width: expected of type int32; found int64" in str(result.breach)


def test_columns_in_another_order_fail():
    result = check(pool_of(5).select(PAIR_SCHEMA.names[::-1]))

    assert failed(result) == [("columns", None)]


def test_an_expectation_that_cannot_be_checked_is_a_failure_with_its_error():
    result = check(pool_of(5).drop_columns(["width"]))

    unchecked = {o["column"]: o["error"] for o in result.expectations if o["error"]}
    assert set(unchecked) == {"width", "shorter_side_px", "aspect"}
    assert 'column "width"' in unchecked["width"]
    assert failed(result) == [
        ("pairs", "shorter_side_px"),
        ("pairs", "aspect"),
        ("columns", None),
        ("columns", "width"),
        ("pairs", "width"),
    ]


def test_a_pool_without_any_column_fails_without_a_crash():
    result = check(pa.table({}))

    assert not any(o["success"] for o in result.expectations if o["table"] != "accounts")


def test_more_rejected_than_allowed_stops_the_run_and_names_the_rule():
    result = check(pool_of(4), ledger_with(5))

    assert failed(result) == [("accounts", "rejected_fraction")]
    assert re.search(
        r"(?s)not_too_many_rejected: accounts\.rejected_fraction: expected "
        r"rejected_fraction <= 0\.5; found 0\.555556"
        r".*'image_too_small' turned away most, 5.*expectations\.not_too_many_rejected",
        result.breach or "",
    )


def test_as_many_rejected_as_allowed_is_accepted():
    assert failed(check(pool_of(4), ledger_with(4))) == []


def test_pairs_that_are_neither_kept_nor_in_the_ledger_fail():
    result = check_contract(
        pool_of(4), num_listed=6, ledger=ledger_with(1), expectations=defaults()
    )

    assert failed(result) == [("accounts", "unaccounted")]
    assert "found 1" in str(result.breach)


def test_fewer_pairs_than_the_contract_asks_for_fail():
    result = check(pool_of(5), enough_pairs={"min_value": 6})

    assert failed(result) == [("accounts", "kept")]


@pytest.mark.parametrize("num_rejected", [0, 7])
def test_an_empty_pool_stops_the_run_with_a_clear_message(num_rejected):
    result = check(
        pool_of(0),
        ledger_with(num_rejected),
        enough_pairs={"min_value": 1},
        not_too_many_rejected={"max_value": 1.0},
    )

    assert "accounts.kept: expected kept >= 1; found 0" in (result.breach or "")


UNCOMMON = {
    "expectation": "expect_column_values_to_not_match_regex",
    "column": "caption",
    "regex": "number [0-3]",
    "on_breach": "stop",
}


@pytest.mark.parametrize(("severity", "stops"), [("critical", True), ("warning", False)])
def test_only_a_critical_breach_stops_the_run_and_every_breach_is_reported(severity, stops):
    result = check(pool_of(5), plain_words=UNCOMMON | {"severity": severity})

    assert failed(result) == [("pairs", "caption")]
    assert ("plain_words" in (result.breach or "")) == stops


@pytest.mark.parametrize(("mostly", "holds"), [(0.5, True), (0.6, True), (0.61, False)])
def test_mostly_is_the_share_that_has_to_hold(mostly, holds):
    lengths = {
        "expectation": "ExpectColumnValuesToNotMatchRegex",
        "column": "caption",
        "regex": "number [01]",
        "on_breach": "stop",
        "mostly": mostly,
    }

    result = check(pool_of(5), plain_words=lengths)  # 3 of 5 hold

    assert (result.breach is None) == holds


def test_an_expectation_that_raises_is_a_failure_also_of_a_lesser_severity():
    shape = {"expectation": "expect_column_values_to_be_json_parseable", "column": "url"}
    ill = {"expectation": "expect_column_mean_to_be_between", "column": "caption", "min_value": 1}
    stop = {"on_breach": "stop", "severity": "info"}

    result = check(pool_of(5), shape=shape | stop, ill=ill | stop)

    assert [(o["name"], o["error"] is None) for o in result.failed] == [("ill", False)]
    assert result.breach is None


def test_what_pairs_and_tables_as_wholes_offer_can_be_expected():
    rows = {"expectation": "expect_table_row_count_to_be_between", "min_value": 6}
    words = {"expectation": "expect_column_mean_to_be_between", "column": "caption_words"}
    one = {"expectation": "expect_column_values_to_be_in_set", "table": "columns",
           "column": "width", "value_set": ["int32"]}  # fmt: skip
    stop = {"on_breach": "stop"}

    result = check(pool_of(5), rows=rows | stop, words=words | stop | {"min_value": 3},
                   one=one | stop)  # fmt: skip

    assert [(o["name"], o["observed"]) for o in result.failed] == [("rows", "5")]


def test_outcomes_are_the_same_each_time_and_json_can_hold_them():
    pool = with_changes(
        pool_of(30), {"width": 31, "height": 31}, {"caption": "ab"}, {"uid": f"{1:032x}"}
    )

    first, second = check(pool), check(pool)

    assert first == second
    assert first.expectations == json.loads(json.dumps(first.expectations, allow_nan=False))


def test_outcomes_stand_in_the_order_of_the_contract_whatever_failed():
    whole, broken = check(pool_of(5)), check(with_changes(pool_of(5), {"caption": None}))

    def names(result: ContractResult) -> list[tuple[str, str | None, str]]:
        return [(o["table"], o["name"], o["expectation"]) for o in result.expectations]

    assert names(whole) == names(broken)
    assert len(set(names(whole))) == len(names(whole))


def test_a_long_list_of_breaches_is_cut_in_the_message_and_whole_in_the_result():
    result = check(pa.table({}))

    num_failed = len(failed(result))
    assert str(result.breach).count("\n- ") == 9
    assert f"and {num_failed - 8} more" in str(result.breach)


def test_importing_the_contract_does_not_import_great_expectations():
    code = (
        "import sys, vl_pipeline.pipelines.validate.contract; "
        "sys.exit('great_expectations' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
