import json
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pytest
from pydantic import ValidationError

from vl_pipeline.data.ledger import LEDGER_SCHEMA, Rejection, ledger_of
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.data.rules import PairRules
from vl_pipeline.errors import PoolError
from vl_pipeline.pipelines.validate.contract import ContractResult, PoolContract, check_contract

RULES = PairRules(
    min_caption_characters=3, max_caption_characters=40, min_side_px=32, max_aspect=3.0
)
CONTRACT = PoolContract(min_pairs=2, max_rejected_fraction=0.5)
NOTHING = LEDGER_SCHEMA.empty_table()


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


def check(pool: pa.Table, ledger: pa.Table = NOTHING, **changes: float) -> ContractResult:
    return check_contract(
        pool,
        num_listed=pool.num_rows + ledger.num_rows,
        ledger=ledger,
        rules=RULES,
        contract=replace(CONTRACT, **changes),
    )


def failed(result: ContractResult) -> list[tuple[str, str | None]]:
    return [(o["table"], o["column"]) for o in result.expectations if not o["success"]]


def test_a_whole_pool_keeps_its_contract():
    result = check(pool_of(5))

    assert failed(result) == []
    assert result.success
    assert result.breach is None
    result.require()


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
                {"image_offset": 0},
            ],
            [
                ("caption", "never null", 1),
                ("image_hash", "32 hexadecimal digits, lower case", 1),
                ("uid", "each once in the pool", 2),
                ("shorter_side_px", "at least 32 px", 1),
                ("image_offset", "positive: an archive starts with a header", 1),
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
                ("shard, key", "each key once in its shard", 2),
                ("caption_characters", "3 to 40 characters", 1),
                ("aspect", "at most 3.0 to 1", 1),
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
                ("caption_characters", "3 to 40 characters", 1),
                ("visible_characters", "not blank", 1),
                ("shorter_side_px", "at least 32 px", 1),
            ],
        ),
    ],
)
def test_each_broken_pair_fails_the_expectation_about_it_and_no_other(changes, broken):
    result = check(with_changes(pool_of(9), *changes))

    outcomes = [o for o in result.expectations if not o["success"]]
    assert broken == [(o["column"], o["expected"], o["unexpected_count"]) for o in outcomes]


def test_pairs_on_a_limit_keep_the_contract():
    on_limits = [
        {"caption": "abc"},
        {"caption": "é" * 40},
        {"width": 32, "height": 32},
        {"width": 96, "height": 32},
        {"url": "http://example.org/a.jpg"},
    ]

    assert check(with_changes(pool_of(5), *on_limits)).success


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
        ("columns", None),
        ("columns", "width"),
        ("pairs", "width"),
        ("pairs", "shorter_side_px"),
        ("pairs", "aspect"),
    ]


def test_a_pool_without_any_column_fails_without_a_crash():
    result = check(pa.table({}))

    assert not result.success
    assert not any(o["success"] for o in result.expectations if o["table"] != "accounts")


def test_more_rejected_than_allowed_stops_the_run_and_names_the_rule():
    result = check(pool_of(4), ledger_with(5))

    assert failed(result) == [("accounts", "rejected_fraction")]
    with pytest.raises(
        PoolError,
        match=r"(?s)rejected_fraction: expected at most 0\.5 .*; found 0\.555556"
        r".*'image_too_small' turned away most, 5.*contract\.max_rejected_fraction",
    ):
        result.require()


def test_as_many_rejected_as_allowed_is_accepted():
    assert check(pool_of(4), ledger_with(4)).success


def test_pairs_that_are_neither_kept_nor_in_the_ledger_fail():
    result = check_contract(
        pool_of(4), num_listed=6, ledger=ledger_with(1), rules=RULES, contract=CONTRACT
    )

    assert failed(result) == [("accounts", "unaccounted")]
    assert "found 1" in str(result.breach)


def test_fewer_pairs_than_the_contract_asks_for_fail():
    result = check(pool_of(5), min_pairs=6)

    assert failed(result) == [("accounts", "kept")]


@pytest.mark.parametrize("num_rejected", [0, 7])
def test_an_empty_pool_stops_the_run_with_a_clear_message(num_rejected):
    result = check(pool_of(0), ledger_with(num_rejected), min_pairs=1, max_rejected_fraction=1.0)

    with pytest.raises(PoolError, match=r"accounts\.kept: expected at least 1 pairs; found 0"):
        result.require()


def test_a_contract_that_accepts_an_empty_pool_is_refused():
    with pytest.raises(ValidationError, match="min_pairs"):
        PoolContract(min_pairs=0, max_rejected_fraction=0.5)


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
        return [(o["table"], o["column"], o["expectation"]) for o in result.expectations]

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
