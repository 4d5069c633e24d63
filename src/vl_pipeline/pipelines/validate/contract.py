"""The pool's contract: what must hold over the pairs that the rules left.

Pairs are dropped earlier, by rules that give a reason (`data/rules.py`), so a breach here is
never about one bad pair: it stops the run. Great Expectations holds three tables to it: `columns`
(one row, the Arrow type of each column), `pairs` (the pool and what is measured on it) and
`accounts` (one row, what was listed, kept and rejected). Every row is checked, at every size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pyarrow as pa
from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.data.rules import PairRules
from vl_pipeline.errors import PoolError
from vl_pipeline.pipelines.validate.expectations import (
    OUR_DEFECT,
    account_expectations,
    column_expectations,
    pair_expectations,
    with_measures,
)

if TYPE_CHECKING:  # importing it costs seconds, so functions that need it do
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.expectations.expectation import Expectation

_NUM_EXAMPLES = 3
_NUM_BREACHES = 8
_EXAMPLE_CHARACTERS = 60


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PoolContract:
    """What a pool as a whole must offer; limits of a single pair are `PairRules`.

    Attributes:
        min_pairs: Fewest pairs a pool may have after the rules. An empty pool is never one.
        max_rejected_fraction: Largest share of everything listed that ingest and the rules
            together may turn away.
    """

    min_pairs: Annotated[int, Ge(1)]
    max_rejected_fraction: Annotated[float, Ge(0.0), Le(1.0)]


class Outcome(TypedDict):
    """What became of one expectation; JSON can hold it, and equal inputs give equal outcomes."""

    table: str
    column: str | None
    expectation: str  # Great Expectations' own name of it
    expected: str
    observed: str
    unexpected_count: int | None  # null where it is about the table, or could not be checked
    success: bool
    error: str | None  # why it could not be checked, which is a failure
    next_step: str


@dataclass(frozen=True, kw_only=True)
class ContractResult:
    """What became of every expectation, in the contract's order."""

    expectations: list[Outcome]

    @property
    def success(self) -> bool:
        """Whether every expectation was checked and holds."""
        return all(outcome["success"] for outcome in self.expectations)

    @property
    def breach(self) -> str | None:
        """What failed, what was seen, what is accepted and what to do; None if all hold."""
        failed = [outcome for outcome in self.expectations if not outcome["success"]]
        if not failed:
            return None
        num_all = len(self.expectations)
        lines = [f"the pool breaks {len(failed)} of the {num_all} expectations of its contract"]
        lines += [f"- {describe(outcome)}" for outcome in failed[:_NUM_BREACHES]]
        if len(failed) > _NUM_BREACHES:
            lines.append(f"- and {len(failed) - _NUM_BREACHES} more, in the validation report")
        steps = dict.fromkeys(outcome["next_step"] for outcome in failed)
        return "\n".join([*lines, *(f"next: {step}" for step in steps)])

    def require(self) -> None:
        """Stop unless the contract holds.

        Raises:
            PoolError: If any expectation failed, or could not be checked.
        """
        if self.breach:
            raise PoolError(self.breach)


def describe(outcome: Outcome) -> str:
    """Say in one sentence what an expectation is about, what it accepts and what was found."""
    place = ".".join(filter(None, [outcome["table"], outcome["column"]]))
    error, observed = outcome["error"], outcome["observed"]
    found = f"found {observed}" if error is None else f"could not be checked: {error}"
    return f"{place}: expected {outcome['expected']}; {found}"


def check_contract(
    pool: pa.Table,
    *,
    num_listed: int,
    ledger: pa.Table,
    rules: PairRules,
    contract: PoolContract,
) -> ContractResult:
    """Hold a pool, after its rules, to its contract.

    Args:
        pool: The pairs that are left, as `PAIR_SCHEMA` has them.
        num_listed: Pairs that ingest listed.
        ledger: Everything turned away so far, by ingest and by the rules.
        rules: What `pool` was filtered by.
        contract: What the pool as a whole must offer.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue]
    of_accounts = account_expectations(
        min_pairs=contract.min_pairs,
        max_rejected_fraction=contract.max_rejected_fraction,
        most_rejected=_most_rejected(ledger),
    )
    return ContractResult(
        expectations=[
            *_check(context, "columns", _types(pool), column_expectations()),
            *_check(context, "pairs", with_measures(pool), pair_expectations(rules)),
            *_check(context, "accounts", _accounts(pool, num_listed, ledger), of_accounts),
        ]
    )


def _types(pool: pa.Table) -> pa.Table:
    return pa.table([[str(field.type)] for field in pool.schema], names=pool.schema.names)


def _accounts(pool: pa.Table, num_listed: int, ledger: pa.Table) -> pa.Table:
    row = {
        "listed": num_listed,
        "kept": pool.num_rows,
        "rejected": ledger.num_rows,
        "unaccounted": num_listed - pool.num_rows - ledger.num_rows,
        "rejected_fraction": ledger.num_rows / num_listed if num_listed else 0.0,
    }
    return pa.Table.from_pylist([row])


def _most_rejected(ledger: pa.Table) -> str:
    for rule, count in count_by_rule(ledger).items():
        return f"'{rule}' turned away most, {count}"
    return "nothing was turned away"


def _check(
    context: "EphemeralDataContext", name: str, table: pa.Table, expectations: list["Expectation"]
) -> list[Outcome]:
    import great_expectations as gx

    # The results come back in another order (failures first), so each carries its place.
    placed = [e.copy(update={"meta": {"place": n}}) for n, e in enumerate(expectations)]
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = asset.add_batch_definition_whole_dataframe(name)
    validation = definition.get_batch({"dataframe": table.to_pandas()}).validate(
        gx.ExpectationSuite(name=name, expectations=placed), result_format="BASIC"
    )
    results: list[dict[str, Any]] = [result.to_json_dict() for result in validation.results]
    results.sort(key=lambda result: result["expectation_config"]["meta"]["place"])
    return [_outcome(name, *pair) for pair in zip(expectations, results, strict=True)]


def _outcome(table: str, expectation: "Expectation", result: dict[str, Any]) -> Outcome:
    error = _error(result)
    return Outcome(
        table=table,
        column=_column(result["expectation_config"]["kwargs"]),
        expectation=result["expectation_config"]["type"],
        expected=str(expectation.description),
        observed=_observed(result["result"]) if error is None else "",
        unexpected_count=result["result"].get("unexpected_count"),
        success=result["success"] and error is None,
        error=error,
        next_step=str(expectation.notes or OUR_DEFECT),
    )


def _column(settings: dict[str, Any]) -> str | None:
    names = settings.get("column_list", [settings.get("column")])
    return None if names == PAIR_SCHEMA.names else ", ".join(names)


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
        return f"all {num_rows}"
    values = [value for value in found["partial_unexpected_list"] if value is not None]
    examples = list(dict.fromkeys(_shorten(repr(value)) for value in values))[:_NUM_EXAMPLES]
    count = f"{num_breaches} of {num_rows} in breach"
    return f"{count}: {', '.join(examples)}" if examples else count


def _shorten(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARACTERS else f"{text[: _EXAMPLE_CHARACTERS - 1]}…"
