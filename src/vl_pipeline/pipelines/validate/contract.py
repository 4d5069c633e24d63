"""The pool's contract: what must hold over the pairs that screening left.

Pairs are dropped earlier, with a reason, so a breach here is never about one bad pair. Great
Expectations holds three tables to it: `columns` (one row, the Arrow type of each column), `pairs`
(the pool and what is measured on it) and `accounts` (one row, what was listed, kept and rejected).
Every row is checked, at every size. Entries that drop are checked too, over what they left.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from vl_pipeline.data.expectations import FILE, Expectation, Expectations
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.measures import MEASURES, with_measures
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.pipelines.validate.suite import OUR_DEFECT, build, in_words, promises

if TYPE_CHECKING:  # importing it costs seconds, so functions that need it do
    from great_expectations.data_context import EphemeralDataContext

_NUM_EXAMPLES = 3
_NUM_BREACHES = 8
_EXAMPLE_CHARACTERS = 60


class Outcome(TypedDict):
    """What became of one expectation; JSON can hold it, and equal inputs give equal outcomes."""

    name: str
    is_promise: bool  # of the stages before, and not of `expectations`
    on_breach: str
    severity: str
    table: str
    column: str | None
    expectation: str  # Great Expectations' own name of it
    expected: str
    description: str
    observed: str
    unexpected_count: int | None  # null where it is about the table, or could not be checked
    success: bool
    error: str | None  # why it could not be checked, which is a failure
    next_step: str


@dataclass(frozen=True, kw_only=True)
class ContractResult:
    """What became of every expectation: the entries in their order, then the promises."""

    expectations: list[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """What does not hold, or could not be checked."""
        return [outcome for outcome in self.expectations if not outcome["success"]]

    @property
    def stopping(self) -> list[Outcome]:
        """What failed and is critical."""
        return [outcome for outcome in self.failed if outcome["severity"] == "critical"]

    @property
    def breach(self) -> str | None:
        """What failed and stops the run, what was seen, what is accepted and what to do."""
        failed = self.stopping
        if not failed:
            return None
        num_all = len(self.expectations)
        lines = [f"the pool breaks {len(failed)} of the {num_all} expectations of its contract"]
        lines += [f"- {describe(outcome)}" for outcome in failed[:_NUM_BREACHES]]
        if len(failed) > _NUM_BREACHES:
            lines.append(f"- and {len(failed) - _NUM_BREACHES} more, in the validation report")
        steps = dict.fromkeys(outcome["next_step"] for outcome in failed)
        return "\n".join([*lines, *(f"next: {step}" for step in steps)])


def describe(outcome: Outcome) -> str:
    """Say in one sentence what an expectation is about, what it accepts and what was found."""
    place = ".".join(filter(None, [outcome["table"], outcome["column"]]))
    error, observed = outcome["error"], outcome["observed"]
    found = f"found {observed}" if error is None else f"could not be checked: {error}"
    return f"{outcome['name']}: {place}: expected {outcome['expected']}; {found}"


def check_contract(
    pool: pa.Table, *, num_listed: int, ledger: pa.Table, expectations: Expectations
) -> ContractResult:
    """Hold a pool, after screening, to its contract.

    Args:
        pool: The pairs that are left, as `PAIR_SCHEMA` has them.
        num_listed: Pairs that ingest listed.
        ledger: Everything turned away so far, by ingest and by screening.
        expectations: What is expected, entries that drop included.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(  # without its own page of documentation
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
    entries, of_ours = dict(expectations.items()), promises()
    tables = {
        "columns": _types(pool),
        "pairs": _measured(pool, [*entries.values(), *of_ours.values()]),
        "accounts": _accounts(pool, num_listed, ledger),
    }
    outcomes: dict[str, Outcome] = {}
    for table, rows in tables.items():
        about = {n: e for n, e in (entries | of_ours).items() if e.table == table}
        for name, result in _check(context, table, rows, about).items():
            outcomes[name] = _outcome(name, about[name], result, is_promise=name in of_ours)
            outcomes[name]["next_step"] = _next_step(name, about[name], ledger)
    return ContractResult(expectations=[outcomes[name] for name in entries | of_ours])


def _types(pool: pa.Table) -> pa.Table:
    return pa.table([[str(field.type)] for field in pool.schema], names=pool.schema.names)


def _measured(pool: pa.Table, entries: list[Expectation]) -> pa.Table:
    """Give the columns that are asked for; all, where one asks for what cannot be told."""
    about = [entry for entry in entries if entry.table == "pairs"]
    names = {name for entry in about for name in entry.columns()}
    if any(not entry.columns() or "row_condition" in entry.settings for entry in about):
        names = {*pool.column_names, *MEASURES}
    measured = with_measures(pool, names)
    measured = measured.select([name for name in measured.column_names if name in names])
    # Great Expectations compares 64-bit numbers at once, and others one by one.
    wide = {pa.int32(): pa.int64(), pa.float32(): pa.float64()}
    fields = [field.with_type(wide.get(field.type, field.type)) for field in measured.schema]
    return measured.cast(pa.schema(fields))


def _accounts(pool: pa.Table, num_listed: int, ledger: pa.Table) -> pa.Table:
    row = {
        "listed": num_listed,
        "kept": pool.num_rows,
        "rejected": ledger.num_rows,
        "unaccounted": num_listed - pool.num_rows - ledger.num_rows,
        "rejected_fraction": ledger.num_rows / num_listed if num_listed else 0.0,
    }
    return pa.Table.from_pylist([row])


def _check(
    context: "EphemeralDataContext", name: str, table: pa.Table, entries: dict[str, Expectation]
) -> dict[str, dict[str, Any]]:
    """Give each entry's result, by the entry's name."""
    import great_expectations as gx

    built = [build(entry).copy(update={"meta": {"name": n}}) for n, entry in entries.items()]
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = asset.add_batch_definition_whole_dataframe(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This pattern is interpreted as a regular")
        validation = definition.get_batch({"dataframe": table.to_pandas()}).validate(
            gx.ExpectationSuite(name=name, expectations=built), result_format="BASIC"
        )
    results: list[dict[str, Any]] = [result.to_json_dict() for result in validation.results]
    return {result["expectation_config"]["meta"]["name"]: result for result in results}


def _outcome(name: str, entry: Expectation, result: dict[str, Any], *, is_promise: bool) -> Outcome:
    error = _error(result)
    return Outcome(
        name=name,
        is_promise=is_promise,
        on_breach=entry.on_breach,
        severity=entry.severity,
        table=entry.table,
        column=None if entry.columns() == PAIR_SCHEMA.names else ", ".join(entry.columns()),
        expectation=entry.type_name,
        expected=entry.description if is_promise else in_words(entry),
        description="" if is_promise else entry.description,
        observed=_observed(result["result"]) if error is None else "",
        unexpected_count=result["result"].get("unexpected_count"),
        success=result["success"] and error is None,
        error=error,
        next_step="",
    )


def _next_step(name: str, entry: Expectation, ledger: pa.Table) -> str:
    if entry.on_breach == "drop":
        return entry.next_step or OUR_DEFECT
    here = f"expectations.{name} ({FILE})"
    step = entry.next_step or f"take such pairs out (on_breach: drop), or change {here}"
    if entry.table == "accounts" and step != OUR_DEFECT:
        return f"{_most_rejected(ledger)}; {step}; or change {here}"
    return step


def _most_rejected(ledger: pa.Table) -> str:
    for rule, count in count_by_rule(ledger).items():
        return f"'{rule}' turned away most, {count}"
    return "nothing was turned away"


def _error(result: dict[str, Any]) -> str | None:
    """Why an expectation could not be checked; such a result has no counts to trust."""
    infos = result["exception_info"]
    if "raised_exception" in infos:  # of one metric; else one entry per metric, by its id
        infos = {"": infos}
    messages = [str(i["exception_message"]) for i in infos.values() if i["raised_exception"]]
    if messages:
        return min(messages).partition("\n")[0]
    return None if result["result"] else "Great Expectations gave no result"


def _observed(found: dict[str, Any]) -> str:
    if "observed_value" in found:
        value = found["observed_value"]
        values = value if isinstance(value, list) else [value]
        return ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values)
    num_rows, num_breaches = found["element_count"], found["unexpected_count"]
    if num_breaches == 0:
        return f"all {num_rows:,}"
    values = [value for value in found["partial_unexpected_list"] if value is not None]
    examples = list(dict.fromkeys(_shorten(repr(value)) for value in values))[:_NUM_EXAMPLES]
    count = f"{num_breaches:,} of {num_rows:,} in breach"
    return f"{count}: {', '.join(examples)}" if examples else count


def _shorten(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARACTERS else f"{text[: _EXAMPLE_CHARACTERS - 1]}…"
