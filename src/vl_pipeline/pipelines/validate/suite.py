"""Entries of `expectations` as Great Expectations' own, and what the stages before promise.

An unknown name or setting is found here; a hook asks before anything runs.
"""

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from vl_pipeline.data.digest import DIGEST_BYTES
from vl_pipeline.data.expectations import FILE, Expectation, Expectations
from vl_pipeline.data.pair_expectations import PAIR_EXPECTATIONS, range_in_words
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.errors import ParameterError

if TYPE_CHECKING:  # importing it costs seconds, so functions that need it do
    from great_expectations.expectations.expectation import Expectation as GreatExpectation

OUR_DEFECT = (
    "the stages before should have seen to this: run `kedro run --pipelines ingest` and "
    "`kedro run --pipelines screen` again, and if it stays report it with this message"
)
_NULLABLE = ("url",)
_DIGEST = rf"^[0-9a-f]{{{2 * DIGEST_BYTES}}}\Z"
_DIGEST_IN_WORDS = f"{2 * DIGEST_BYTES} hexadecimal digits, lower case"
_NAME = re.compile(r"[\w .:/-]+")  # what MLflow takes for the name of a parameter
_SET_HERE = {"batch_id", "catch_exceptions", "description", "id", "meta", "notes",
             "rendered_content", "result_format", "severity", "windows"}  # fmt: skip


def require_known(expectations: Expectations) -> None:
    """Check entries against Great Expectations, before anything runs.

    Raises:
        ParameterError: If it does not know the name or a setting of an entry.
    """
    ours = promises()
    for name, entry in expectations.items():
        try:
            if not _NAME.fullmatch(name):
                raise ParameterError("its name has more than letters, digits, spaces and _ . : / -")
            if name in ours:
                raise ParameterError("is the name of a promise of the stages before; take another")
            build(entry)
        except ParameterError as error:
            raise ParameterError(f"expectations.{name}: {error} ({FILE})") from error


def build(entry: Expectation) -> "GreatExpectation":
    """Give the expectation that Great Expectations checks.

    Raises:
        ParameterError: If it knows no such expectation, or not these settings of it.
    """
    import great_expectations.expectations  # noqa: F401 (registers what there is)
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    known = list_registered_expectation_implementations()
    if entry.type_name not in known:
        near = get_close_matches(entry.type_name, known, n=3)
        raise ParameterError(
            f"expectation is {entry.expectation}, which Great Expectations does not know; "
            f"{'near to it are ' + ', '.join(near) if near else 'its gallery lists all names'}"
        )
    kind = get_expectation_impl(entry.type_name)
    accepted = kind.__fields__.keys() - _SET_HERE  # pyright: ignore[reportAttributeAccessIssue]
    settings: dict[str, Any] = dict(entry.settings)
    if entry.mostly is not None:
        settings["mostly"] = entry.mostly
    if unknown := sorted(settings.keys() - accepted):
        raise ParameterError(
            f"{entry.expectation} takes no {', '.join(unknown)}; it takes "
            f"{', '.join(sorted(accepted))}"
        )
    try:
        return kind.parse_obj(settings | {"severity": entry.severity})
    except (TypeError, ValueError) as error:
        reasons = dict.fromkeys(line.strip() for line in str(error).splitlines()[1:])
        raise ParameterError(
            f"{entry.expectation} refuses {settings}: {'; '.join(reasons)}; it takes "
            f"{', '.join(sorted(accepted))}"
        ) from error


def in_words(entry: Expectation) -> str:
    """Say what is accepted, from the settings themselves."""
    words = _settings_in_words(entry)
    return words if entry.mostly is None else f"{words}, in at least {entry.mostly:.4g} of all"


def _settings_in_words(entry: Expectation) -> str:
    settings = entry.settings
    if entry.table == "pairs" and entry.type_name in PAIR_EXPECTATIONS:
        try:
            return entry.per_pair().limit
        except ParameterError:  # a setting that only Great Expectations knows
            pass
    statistic = re.fullmatch(r"expect_column_(\w+)_to_be_between", entry.type_name)
    if statistic and "column" in settings:
        of = "" if entry.table == "accounts" else f"{statistic[1].replace('_', ' ')} of "
        return f"{of}{settings['column']} {range_in_words(settings)}"
    if entry.type_name == "expect_compound_columns_to_be_unique" and "column_list" in settings:
        return f"each {' with '.join(settings['column_list'])} once"
    what = entry.type_name.removeprefix("expect_").replace("_", " ")
    return f"{what}: {', '.join(f'{name} {value}' for name, value in settings.items())}"


def promises() -> dict[str, Expectation]:
    """Give what ingest and screen promise of every pool; no pool should ever break one."""

    def promise(expectation: str, words: str, table: str = "pairs", **settings: object) -> object:
        return {"expectation": expectation, "on_breach": "stop", "next_step": OUR_DEFECT,
                "description": words, "table": table} | settings  # fmt: skip

    of_columns = {
        f"{field.name}_of_its_type": promise(
            "expect_column_most_common_value_to_be_in_set",
            f"of type {field.type}",
            table="columns",
            column=field.name,
            value_set=[str(field.type)],
        )
        for field in PAIR_SCHEMA
    }
    of_nulls = {
        f"{name}_is_there": promise(
            "expect_column_values_to_not_be_null", "never null", column=name
        )
        for name in PAIR_SCHEMA.names
        if name not in _NULLABLE
    }
    of_digests = {
        f"{name}_is_a_digest": promise(
            "expect_column_values_to_match_regex", _DIGEST_IN_WORDS, column=name, regex=_DIGEST
        )
        for name in ("uid", "image_hash")
    }
    once = promise("expect_column_values_to_be_unique", "each once in the pool", column="uid")
    of_places = {
        name: promise("expect_column_values_to_be_between", words, column=column, min_value=least)
        for name, column, least, words in [
            ("image_offset_is_in_the_file", "image_offset", 0, "not negative"),
            ("image_bytes_is_positive", "image_bytes", 1, "positive"),
        ]
    }
    all_columns = promise(
        "expect_table_columns_to_match_ordered_list",
        f"the columns {', '.join(PAIR_SCHEMA.names)}, in this order",
        table="columns",
        column_list=PAIR_SCHEMA.names,
    )
    accounts = promise(
        "expect_column_max_to_be_between",
        "listed = kept + rejected, nothing left over",
        table="accounts",
        column="unaccounted",
        min_value=0,
        max_value=0,
    )
    by_name = {"columns_in_order": all_columns, **of_columns, **of_nulls, **of_digests}
    by_name |= {"uid_is_unique": once, **of_places, "accounts_add_up": accounts}
    return Expectations.model_validate(by_name).root
