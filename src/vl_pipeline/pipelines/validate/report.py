"""The validation report: one HTML page about what a pool holds, and what was turned away.

It needs nothing from outside and runs nothing. It holds no time and no random name, so equal
inputs give equal bytes and DVC can hold it. Values from the pool are hostile: they reach the page
through `render_value` alone.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.pipelines.validate.contract import ContractResult, describe
from vl_pipeline.pipelines.validate.expectations import with_measures
from vl_pipeline.pipelines.validate.histogram import render_histogram
from vl_pipeline.pipelines.validate.page import Html, render_page, render_table, render_value

_NUM_EXAMPLES = 5
_NUM_REPEATED = 10
_BAR_PX = 110
_DISTRIBUTIONS = {
    "caption_characters": "Caption length, characters",
    "shorter_side_px": "Image's shorter side, px",
    "aspect": "Image's longer side over its shorter one",
}
_STYLES = {"shard": "name", "key": "code", "image_hash": "code", "caption": ""}


def render_report(
    result: ContractResult, *, pool: pa.Table, ledger: pa.Table, num_listed: int
) -> str:
    """Render the report; a pool that lacks columns gets one too, for that is when it is read.

    Args:
        result: What became of the pool's contract.
        pool: The pairs that are left.
        ledger: Everything turned away so far, by ingest and by the rules.
        num_listed: Pairs that ingest listed.
    """
    shown = _of_promised_type(pool)
    return render_page(
        "Validation of the pool",
        [
            _verdict(result),
            Html("<h2>Accounts</h2>"),
            _balance(num_listed, num_kept=pool.num_rows, num_rejected=ledger.num_rows),
            _rejections(ledger, num_listed=num_listed),
            Html("<h2>What the kept pairs look like</h2>"),
            _distributions(with_measures(shown)),
            Html("<h2>Most repeated captions, with their first pair</h2>"),
            _most_repeated(shown, "caption"),
            Html("<h2>Most repeated images, with their first pair</h2>"),
            _most_repeated(shown, "image_hash"),
            Html("<h2>Expectations</h2>"),
            _expectations(result),
        ],
    )


def _of_promised_type(pool: pa.Table) -> pa.Table:
    """Leave out columns that could not be drawn; the expectations say what is wrong with them."""
    names = pool.schema.names
    return pool.select(
        [
            field.name
            for field in PAIR_SCHEMA
            if names.count(field.name) == 1 and pool.schema.field(field.name).type == field.type
        ]
    )


def _verdict(result: ContractResult) -> Html:
    failed = [outcome for outcome in result.expectations if not outcome["success"]]
    num_all = len(result.expectations)
    if not failed:
        return Html(
            "<header><h1>The pool keeps its contract</h1>"
            f'<p class="soft">All {num_all} expectations hold.</p></header>'
        )
    reasons = "".join(f"<li>{render_value(describe(outcome))}</li>" for outcome in failed)
    steps = dict.fromkeys(outcome["next_step"] for outcome in failed)
    return Html(
        '<header class="bad"><h1>The pool breaks its contract</h1>'
        f'<p class="soft">{len(failed)} of {num_all} expectations failed, so the run stops.</p>'
        f"<ul>{reasons}</ul>"
        f"{''.join(f'<p>Next: {render_value(step)}.</p>' for step in steps)}</header>"
    )


def _balance(num_listed: int, *, num_kept: int, num_rejected: int) -> Html:
    terms = {"listed =": num_listed, "kept +": num_kept, "rejected": num_rejected}
    parts = [f"<b>{count:,}</b> <span>{word}</span>" for word, count in terms.items()]
    difference = num_listed - num_kept - num_rejected
    if difference:
        parts.append(f'<b class="bad">does not add up: {difference:+,}</b>')
    return Html(f'<div class="sum">{"".join(parts)}</div>')


def _rejections(ledger: pa.Table, *, num_listed: int) -> Html:
    counts = ledger.group_by(["stage", "rule"], use_threads=False).aggregate([([], "count_all")])
    stages = pc.unique(ledger["stage"]).to_pylist()
    groups = sorted(
        counts.to_pylist(), key=lambda g: (stages.index(g["stage"]), -g["count_all"], g["rule"])
    )
    if not groups:
        return Html('<p class="soft">Nothing was turned away.</p>')
    largest = max(group["count_all"] for group in groups)
    rows = [
        (
            group["stage"],
            group["rule"],
            group["count_all"],
            _bar(group["count_all"], largest=largest, whole=num_listed),
            _examples(ledger, group["stage"], group["rule"]),
        )
        for group in groups
    ]
    return render_table(
        {"Stage": "name", "Rule": "name", "Pairs": "number", "Of all listed": "bar", "": ""},
        rows,
        total=("", "all", ledger.num_rows, _percent(ledger.num_rows, num_listed), ""),
    )


def _bar(count: int, *, largest: int, whole: int) -> Html:
    width = _BAR_PX * count / largest
    return Html(f'<i style="width: {width:.0f}px"></i>{_percent(count, whole)}')


def _percent(count: int, whole: int) -> str:
    return f"{count / whole:.2%}" if whole else ""


def _examples(ledger: pa.Table, stage: str, rule: str) -> Html:
    same = pc.and_(pc.equal(ledger["stage"], stage), pc.equal(ledger["rule"], rule))
    columns = ["shard", "key", "value", "limit"]
    examples = ledger.filter(same).slice(0, _NUM_EXAMPLES).select(columns).to_pylist()
    headings = {"Shard": "name", "Key": "code", "Found": "", "Accepted": "name"}
    table = render_table(headings, (example.values() for example in examples))
    return Html(f"<details><summary>Examples</summary>{table}</details>")


def _distributions(measured: pa.Table) -> Html:
    figures = []
    for name, title in _DISTRIBUTIONS.items():
        values = _finite_numbers(measured, name)
        figures.append(render_histogram(values, title) if len(values) else _nothing_about(name))
    return Html(f'<div class="figures">{"".join(figures)}</div>')


def _finite_numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.empty(0)
    values = table[name].drop_null().to_numpy()
    return values[np.isfinite(values)]


def _most_repeated(pool: pa.Table, column: str) -> Html:
    """List the values that most pairs share; what stands beside each is of the first such pair."""
    if column not in pool.column_names:
        return _nothing_about(column)
    counts = pa.Table.from_struct_array(pc.value_counts(pool[column].drop_null()))
    repeated = counts.filter(pc.greater(counts["counts"], 1))
    top = repeated.sort_by([("counts", "descending"), ("values", "ascending")])
    if not top.num_rows:
        return Html('<p class="soft">None occurs twice.</p>')
    known = [name for name in ("shard", "key", "caption") if name in pool.column_names]
    others = [name for name in known if name != column]
    rows = []
    for row in top.slice(0, _NUM_REPEATED).to_pylist():
        first = pool.slice(pc.index(pool[column], row["values"]).as_py(), 1)
        rows.append((row["counts"], row["values"], *(first[name][0] for name in others)))
    headings = {_in_words(name): _STYLES[name] for name in (column, *others)}
    return render_table({"Pairs": "number"} | headings, rows)


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _nothing_about(name: str) -> Html:
    return Html(f'<p class="soft">Nothing to show: no values of {_in_words(name).lower()}.</p>')


def _expectations(result: ContractResult) -> Html:
    passed, failed = Html('<b class="good">holds</b>'), Html('<b class="bad">fails</b>')
    rows = (
        (
            passed if outcome["success"] else failed,
            outcome["table"],
            outcome["column"] or "",
            outcome["expected"],
            outcome["observed"] if outcome["error"] is None else f"error: {outcome['error']}",
            outcome["expectation"].removeprefix("expect_"),
        )
        for outcome in result.expectations
    )
    headings = {"": "name", "About": "name", "Column": "name", "Expected": "", "Observed": ""}
    return render_table(headings | {"Great Expectations": "code"}, rows)
