"""Expectations about a single pair, judged by pyarrow: which pairs break one, and by how much.

Each class is one of Great Expectations' expectations, with its settings under its names, and gives
its verdict on every row. Nulls are as there: only `expect_column_values_to_not_be_null` minds one,
NaN counts as null, and a comparison of two columns fails where one of them alone is null.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.errors import ParameterError

_CONFIG = ConfigDict(extra="forbid")
_LEDGER_CHARACTERS = 200
_LEDGER_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """For each row, whether it breaks the expectation, and what was found there."""

    breaks: np.ndarray
    value: pa.ChunkedArray


class PairExpectation(Protocol):
    """One expectation with its settings."""

    @property
    def limit(self) -> str:
        """What it accepts, in words for the ledger."""
        ...

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        """Judge every row; `left` are those that no earlier expectation turned away."""
        ...


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class NotNull:
    """`expect_column_values_to_not_be_null`."""

    column: str

    @property
    def limit(self) -> str:
        return f"{self.column} is there"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        nothing = pa.chunked_array([pa.repeat("null", pairs.num_rows)])
        return Verdict(breaks=_is_null(pairs[self.column]), value=nothing)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class _Range:
    """Bounds of one column, one of them at least; a value on a bound is inside unless strict."""

    column: str
    min_value: int | float | None = None
    max_value: int | float | None = None
    strict_min: bool = False
    strict_max: bool = False

    @model_validator(mode="after")
    def _require_bounds_in_order(self) -> "_Range":
        low, high = self.min_value, self.max_value
        if low is None and high is None:
            raise ParameterError("has neither min_value nor max_value; give one of them")
        if low is not None and high is not None and low > high:
            raise ParameterError(f"min_value {low} lies above max_value {high}; nothing fits")
        return self

    def outside(self, values: pa.ChunkedArray) -> np.ndarray:
        """Whether each value lies outside; a null or NaN does not."""
        outside = np.zeros(len(values), dtype=bool)
        if self.min_value is not None:
            below = pc.less_equal if self.strict_min else pc.less
            outside |= _as_numpy(below(values, self.min_value))
        if self.max_value is not None:
            above = pc.greater_equal if self.strict_max else pc.greater
            outside |= _as_numpy(above(values, self.max_value))
        return outside


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class ValuesBetween(_Range):
    """`expect_column_values_to_be_between`, for numbers."""

    @property
    def limit(self) -> str:
        return f"{self.column} {range_in_words(vars(self))}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = pairs[self.column]
        return Verdict(breaks=self.outside(values), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class ValueLengthsBetween(_Range):
    """`expect_column_value_lengths_to_be_between`, in characters and not in bytes."""

    @property
    def limit(self) -> str:
        return f"{range_in_words(vars(self))} characters"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        lengths = pc.utf8_length(_strings(pairs, self.column))
        return Verdict(breaks=self.outside(lengths), value=lengths)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class InSet:
    """`expect_column_values_to_be_in_set`."""

    column: str
    value_set: tuple[int | float | str, ...]

    @property
    def limit(self) -> str:
        return f"{self.column} is one of {_listed(self.value_set)}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = pairs[self.column]
        is_in = _is_in(values, self.value_set)
        return Verdict(breaks=~is_in & ~_is_null(values), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class NotInSet:
    """`expect_column_values_to_not_be_in_set`."""

    column: str
    value_set: tuple[int | float | str, ...]

    @property
    def limit(self) -> str:
        return f"{self.column} is none of {_listed(self.value_set)}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = pairs[self.column]
        return Verdict(breaks=_is_in(values, self.value_set) & ~_is_null(values), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class MatchesRegex:
    """`expect_column_values_to_match_regex`: Python's syntax, found anywhere in the value."""

    column: str
    regex: str

    @property
    def limit(self) -> str:
        return f"{self.column} matches {self.regex}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = _strings(pairs, self.column)
        return Verdict(breaks=~_contains(values, self.regex) & ~_is_null(values), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class MatchesNoRegex:
    """`expect_column_values_to_not_match_regex`."""

    column: str
    regex: str

    @property
    def limit(self) -> str:
        return f"{self.column} does not match {self.regex}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = _strings(pairs, self.column)
        return Verdict(breaks=_contains(values, self.regex), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class MatchesRegexList:
    """`expect_column_values_to_match_regex_list`: any of them, or all."""

    column: str
    regex_list: tuple[str, ...]
    match_on: Literal["any", "all"] = "any"

    @property
    def limit(self) -> str:
        return f"{self.column} matches {self.match_on} of {', '.join(self.regex_list)}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = _strings(pairs, self.column)
        join = np.logical_or if self.match_on == "any" else np.logical_and
        matches = join.reduce([_contains(values, regex) for regex in _some(self.regex_list)])
        return Verdict(breaks=~matches & ~_is_null(values), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class MatchesNoRegexOfList:
    """`expect_column_values_to_not_match_regex_list`."""

    column: str
    regex_list: tuple[str, ...]

    @property
    def limit(self) -> str:
        return f"{self.column} matches none of {', '.join(self.regex_list)}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = _strings(pairs, self.column)
        matches = [_contains(values, regex) for regex in _some(self.regex_list)]
        return Verdict(breaks=np.logical_or.reduce(matches), value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class Unique:
    """`expect_column_values_to_be_unique`, by dropping every pair but the first of its value.

    Great Expectations counts the first one too, so verdicts differ in it, and agree on whether
    there is a breach and on what is left.
    """

    column: str

    @property
    def limit(self) -> str:
        return f"each {self.column} once"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        values = pairs[self.column]
        rows = np.flatnonzero(left & ~_is_null(values))
        codes = _codes(values)[rows]
        first = np.empty(codes.max(initial=-1) + 1, dtype=np.int64)
        first[codes[::-1]] = rows[::-1]  # where rows share a code, the last assignment stays
        breaks = np.zeros(pairs.num_rows, dtype=bool)
        breaks[rows] = first[codes] != rows
        return Verdict(breaks=breaks, value=values)


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class PairGreater:
    """`expect_column_pair_values_a_to_be_greater_than_b`."""

    column_A: str  # noqa: N815 (Great Expectations' name)
    column_B: str  # noqa: N815
    or_equal: bool = False

    @property
    def limit(self) -> str:
        return f"{self.column_A} {'>=' if self.or_equal else '>'} {self.column_B}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        holds = pc.greater_equal if self.or_equal else pc.greater
        return _compare(holds, pairs[self.column_A], pairs[self.column_B])


@parameters(frozen=True, kw_only=True, config=_CONFIG)
class PairEqual:
    """`expect_column_pair_values_to_be_equal`."""

    column_A: str  # noqa: N815 (Great Expectations' name)
    column_B: str  # noqa: N815

    @property
    def limit(self) -> str:
        return f"{self.column_A} = {self.column_B}"

    def judge(self, pairs: pa.Table, left: np.ndarray) -> Verdict:
        return _compare(pc.equal, pairs[self.column_A], pairs[self.column_B])


PAIR_EXPECTATIONS: dict[str, type[PairExpectation]] = {
    "expect_column_values_to_not_be_null": NotNull,
    "expect_column_value_lengths_to_be_between": ValueLengthsBetween,
    "expect_column_values_to_be_between": ValuesBetween,
    "expect_column_values_to_be_in_set": InSet,
    "expect_column_values_to_not_be_in_set": NotInSet,
    "expect_column_values_to_match_regex": MatchesRegex,
    "expect_column_values_to_not_match_regex": MatchesNoRegex,
    "expect_column_values_to_match_regex_list": MatchesRegexList,
    "expect_column_values_to_not_match_regex_list": MatchesNoRegexOfList,
    "expect_column_values_to_be_unique": Unique,
    "expect_column_pair_values_a_to_be_greater_than_b": PairGreater,
    "expect_column_pair_values_to_be_equal": PairEqual,
}
"""Great Expectations' name of each expectation that can drop pairs."""


def in_ledger(value: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give what was found as the ledger writes it: rounded, and not longer than a line or two."""
    if pa.types.is_floating(value.type):
        value = pc.round(value, ndigits=_LEDGER_DIGITS)
    if pa.types.is_binary(value.type) or pa.types.is_fixed_size_binary(value.type):
        return pa.chunked_array([[data and data.hex() for data in value.to_pylist()]], pa.string())
    return pc.utf8_slice_codeunits(pc.cast(value, pa.string()), 0, _LEDGER_CHARACTERS)


def range_in_words(settings: Mapping[str, object]) -> str:
    """Write bounds as `>= 3 and < 9`, from Great Expectations' settings of a range."""
    low, high = settings.get("min_value"), settings.get("max_value")
    words = [] if low is None else [f"{'>' if settings.get('strict_min') else '>='} {low}"]
    words += [] if high is None else [f"{'<' if settings.get('strict_max') else '<='} {high}"]
    return " and ".join(words)


def _as_numpy(mask: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(mask, False).to_numpy()


def _is_null(values: pa.ChunkedArray) -> np.ndarray:
    return pc.is_null(values, nan_is_null=pa.types.is_floating(values.type)).to_numpy()


def _is_in(values: pa.ChunkedArray, value_set: tuple[int | float | str, ...]) -> np.ndarray:
    return _as_numpy(pc.is_in(values, value_set=pa.array(value_set, values.type)))


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(repr(value) for value in values)


def _strings(pairs: pa.Table, column: str) -> pa.ChunkedArray:
    values = pairs[column]
    if values.type != pa.string():
        raise ParameterError(f"column {column} is of type {values.type}; this needs text")
    return values


def _some(regexes: tuple[str, ...]) -> tuple[str, ...]:
    if not regexes:
        raise ParameterError("regex_list is empty; give one regex at least")
    return regexes


def _contains(values: pa.ChunkedArray, regex: str) -> np.ndarray:
    """Whether a regex is found in each value; not in a null.

    pandas searches with RE2 where that agrees with Python's `re` on these values, else with `re`.
    Great Expectations asks the same function.
    """
    try:
        re.compile(regex)
    except re.error as error:
        raise ParameterError(f"regex {regex!r} is not one: {error}") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This pattern is interpreted as a regular")
        return values.to_pandas().str.contains(regex, na=False).to_numpy(dtype=bool)


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    """Number equal values alike; a null's number means nothing."""
    encoded = pc.dictionary_encode(values).unify_dictionaries()
    chunks = [pc.fill_null(chunk.indices, 0).to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.empty(0, dtype=np.int32), *chunks])


def _compare(holds: object, a: pa.ChunkedArray, b: pa.ChunkedArray) -> Verdict:
    breaks = ~_as_numpy(holds(a, b)) & ~(_is_null(a) & _is_null(b))  # pyright: ignore[reportCallIssue]
    both = pc.binary_join_element_wise(
        *(pc.cast(column, pa.string()) for column in (a, b)),
        ", ",
        null_handling="replace",
        null_replacement="null",
    )
    return Verdict(breaks=breaks, value=both)
