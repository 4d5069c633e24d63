"""What is expected of a pool, as its user states it: one named entry for each expectation.

An entry that drops is about single pairs. Entries that drop are applied in their order to what the
ones before left; a pair that breaks one goes to the ledger under that entry's name. An entry that
stops is about the pool as a whole and is held by Great Expectations, in `validate`.
"""

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    model_validator,
)

from vl_pipeline.data.ledger import LEDGER_SCHEMA
from vl_pipeline.data.measures import names_of_columns, with_measures
from vl_pipeline.data.pair_expectations import (
    PAIR_EXPECTATIONS,
    PairExpectation,
    Verdict,
    in_ledger,
)
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.errors import ParameterError

COLUMNS_OF_TABLE = {
    "pairs": names_of_columns(),
    "accounts": ["listed", "kept", "rejected", "unaccounted", "rejected_fraction"],
    "columns": PAIR_SCHEMA.names,
}
"""What an entry can be about: the pairs, one row of counts, or one row of the columns' types."""

FILE = "conf/base/parameters_expectations.yml"


class Expectation(BaseModel):
    """One entry.

    Attributes:
        expectation: Great Expectations' name: `expect_column_values_to_be_unique`, or the class's.
        on_breach: Drop the pair, or stop the run (if `severity` is critical; else only report).
        severity: How bad a breach is that `validate` finds, also for an entry that drops.
        table: What the expectation is about.
        mostly: Share of the pairs that has to hold; for entries that stop.
        description: Why it is expected, for who reads the report.
        next_step: What to do on a breach.
        settings: The expectation's own, such as `column`; in YAML they stand beside the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expectation: str
    on_breach: Literal["drop", "stop"]
    severity: Literal["critical", "warning", "info"] = "critical"
    table: Literal["pairs", "accounts", "columns"] = "pairs"
    mostly: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    description: str = ""
    next_step: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        own = {name: value for name, value in entry.items() if name in cls.model_fields}
        given = {name: value for name, value in entry.items() if name not in own}
        return own | {"settings": own.get("settings", {}) | given}

    @property
    def type_name(self) -> str:
        """Great Expectations' name in snake case."""
        words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", self.expectation)
        return re.sub("([a-z0-9])([A-Z])", r"\1_\2", words).lower()

    def columns(self) -> list[str]:
        """Name the columns that it is about."""
        names: list[str] = []
        for key in ("column", "column_A", "column_B", "column_list"):
            value = self.settings.get(key, [])
            names += value if isinstance(value, list | tuple) else [value]
        return names

    def per_pair(self) -> PairExpectation:
        """Give what judges single pairs by this entry.

        Raises:
            ParameterError: If no pair can be judged by it.
        """
        kind = PAIR_EXPECTATIONS.get(self.type_name)
        if kind is None:
            raise ParameterError(
                f"expectation is {self.expectation}, which cannot drop pairs; these can: "
                f"{', '.join(PAIR_EXPECTATIONS)}; or set on_breach: stop"
            )
        try:
            return kind(**self.settings)
        except ValidationError as error:
            accepted = ", ".join(field.name for field in fields(kind))  # pyright: ignore[reportArgumentType]
            wrong = "; ".join(_in_words(detail) for detail in error.errors())
            raise ParameterError(f"{wrong}; {self.expectation} takes {accepted}") from error


class Expectations(RootModel[dict[str, Expectation]]):
    """Entries by name, in their order. Checked whole before anything runs."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _require_usable_entries(self) -> "Expectations":
        for name, entry in self.items():
            try:
                _require_known_columns(entry)
                if entry.on_breach == "drop":
                    _require_able_to_drop(entry)
            except ParameterError as error:
                raise ParameterError(f"expectations.{name}: {error} ({FILE})") from error
        return self

    def items(self) -> Iterator[tuple[str, Expectation]]:
        """Name and entry, in the order given."""
        yield from self.root.items()

    def dropping(self) -> dict[str, PairExpectation]:
        """Give the entries that drop pairs, in their order."""
        return {n: entry.per_pair() for n, entry in self.items() if entry.on_breach == "drop"}


def drop_pairs(pairs: pa.Table, expectations: Expectations) -> tuple[pa.Table, pa.Table]:
    """Split pairs into those that break no entry that drops, and a ledger of the others.

    Returns:
        The kept pairs and the ledger, both in the order of `pairs`.
    """
    dropping = expectations.dropping()
    measured = with_measures(
        pairs, [column for name in dropping for column in expectations.root[name].columns()]
    )
    left = np.ones(pairs.num_rows, dtype=bool)
    parts, rows = [LEDGER_SCHEMA.empty_table()], [np.empty(0, dtype=np.int64)]
    for name, entry in dropping.items():
        verdict = entry.judge(measured, left)
        charged = np.flatnonzero(verdict.breaks & left)
        left[charged] = False
        parts.append(_charge(pairs, charged, name, entry.limit, verdict))
        rows.append(charged)
    kept = pairs if left.all() else pairs.filter(pa.array(left))
    return kept, pa.concat_tables(parts).take(np.argsort(np.concatenate(rows)))


def _charge(
    pairs: pa.Table, charged: np.ndarray, name: str, limit: str, verdict: Verdict
) -> pa.Table:
    rejected = pairs.select(["shard", "key", "uid"]).take(charged)
    constant = {"stage": "screen", "rule": name, "limit": limit}
    columns = {column: rejected[column] for column in rejected.column_names}
    columns |= {column: pa.repeat(value, len(charged)) for column, value in constant.items()}
    columns["value"] = in_ledger(verdict.value.take(charged))
    return pa.table(columns).select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)


def _require_known_columns(entry: Expectation) -> None:
    known = COLUMNS_OF_TABLE[entry.table]
    unknown = [repr(name) for name in entry.columns() if name not in known]
    if unknown:
        raise ParameterError(
            f"there is no column {', '.join(unknown)} in the table {entry.table}, which has "
            f"{', '.join(known)}"
        )


def _require_able_to_drop(entry: Expectation) -> None:
    if entry.table != "pairs":
        raise ParameterError(f"table is {entry.table}; only pairs can be dropped, set stop")
    if entry.mostly is not None:
        raise ParameterError(
            f"mostly is {entry.mostly}, but each pair that breaks an entry is dropped; leave "
            f"mostly out, or set on_breach: stop"
        )
    one = pa.Table.from_pylist([dict.fromkeys(PAIR_SCHEMA.names)], schema=PAIR_SCHEMA)
    measured = with_measures(one, entry.columns())
    try:
        entry.per_pair().judge(measured, np.ones(1, dtype=bool))
    except pa.ArrowException as error:
        types = ", ".join(str(measured[column].type) for column in entry.columns())
        reason = str(error).partition("\n")[0]
        raise ParameterError(f"does not fit a column of type {types}: {reason}") from error


def _in_words(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place} is {detail['input']!r}: {message}" if place else message
