import pytest

from vl_pipeline.data.ledger import (
    LEDGER_SCHEMA,
    Rejection,
    count_by_rule,
    ledger_of,
    require_balance,
)
from vl_pipeline.errors import PoolError


def rejection(key: str, rule: str) -> Rejection:
    return Rejection(shard="0.tar", key=key, rule=rule, value="found", limit="accepted")


def test_ledger_has_one_row_per_rejection_in_order():
    ledger = ledger_of("ingest", [rejection("b", "missing_image"), rejection("a", "repeated_key")])

    assert ledger.to_pylist() == [
        {
            "stage": "ingest",
            "shard": "0.tar",
            "key": "b",
            "uid": None,
            "rule": "missing_image",
            "value": "found",
            "limit": "accepted",
        },
        {
            "stage": "ingest",
            "shard": "0.tar",
            "key": "a",
            "uid": None,
            "rule": "repeated_key",
            "value": "found",
            "limit": "accepted",
        },
    ]


def test_empty_ledger_has_the_columns():
    ledger = ledger_of("ingest", [])

    assert ledger.schema == LEDGER_SCHEMA
    assert ledger.num_rows == 0
    assert count_by_rule(ledger) == {}


def test_rules_are_counted_most_frequent_first_and_ties_by_name():
    rules = ["b", "a", "c", "c"]
    ledger = ledger_of("ingest", [rejection(str(n), rule) for n, rule in enumerate(rules)])

    assert list(count_by_rule(ledger).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_balanced_stage_passes():
    require_balance(
        "ingest", num_in=3, num_kept=2, ledger=ledger_of("ingest", [rejection("a", "r")])
    )


@pytest.mark.parametrize("num_in", [2, 4])
def test_stage_that_loses_or_doubles_a_pair_fails(num_in):
    ledger = ledger_of("ingest", [rejection("a", "r")])

    with pytest.raises(PoolError, match=f"ingest: {num_in} pairs came in, but 2 kept . 1 rejected"):
        require_balance("ingest", num_in=num_in, num_kept=2, ledger=ledger)
