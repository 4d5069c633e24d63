"""The validation report: one HTML page about what a pool holds, and what was turned away.

It needs nothing from outside and runs nothing. It holds no time and no random name, so equal
inputs give equal bytes and DVC can hold it. Values from the pool are hostile: they reach the page
through `render_value` alone.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.data.measures import with_measures
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.pipelines.validate.contract import ContractResult, Outcome, describe
from vl_pipeline.pipelines.validate.heatmap import render_heatmap
from vl_pipeline.pipelines.validate.histogram import render_histogram
from vl_pipeline.pipelines.validate.matches import render_image, render_matches
from vl_pipeline.pipelines.validate.page import Html, render_page, render_table, render_value
from vl_pipeline.pipelines.validate.scripts import scripts_of
from vl_pipeline.screening.evidence import REPEATED, most_repeated

_NUM_EXAMPLES = 5
_NUM_CAPTIONS_READ = 100_000
_SEED = 0
_BAR_PX = 110
_DISTRIBUTIONS = {
    "caption_characters": "Caption length, characters",
    "caption_words": "Caption length, words",
    "shorter_side_px": "Image's shorter side, px",
    "aspect": "Image's longer side over its shorter one",
    "bytes_per_pixel": "Compressed bytes per pixel (little: flat or blurred)",
}
_STYLES = {"shard": "name", "key": "code", "image_hash": "code", "caption": ""}


def render_report(
    result: ContractResult,
    *,
    pool: pa.Table,
    ledger: pa.Table,
    num_listed: int,
    evidence: pa.Table,
) -> str:
    """Render the report; a pool that lacks columns gets one too, for that is when it is read.

    Args:
        result: What became of the pool's contract.
        pool: The pairs that are left.
        ledger: Everything turned away so far, by ingest and by screening.
        num_listed: Pairs that ingest listed.
        evidence: A few pairs turned away beside what they resemble, and images that stay often.
    """
    shown = _of_promised_type(pool)
    accounts = _balance(num_listed, num_kept=pool.num_rows, num_rejected=ledger.num_rows)
    return render_page(
        "Validation of the pool",
        _verdict(result),
        {
            "Turned away": Html(accounts + _rejections(ledger, num_listed=num_listed)),
            "Expectations": _expectations(result),
            "Duplicates and leaks": render_matches(
                evidence.filter(pc.not_equal(evidence["rule"], REPEATED)), ledger
            ),
            "Sizes and lengths": _distributions(with_measures(shown, _DISTRIBUTIONS)),
            "Scripts": _scripts(shown),
            "Repeated captions": _most_repeated(shown, "caption"),
            "Repeated images": _most_repeated(shown, "image_hash", _thumbnails(evidence)),
        },
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
    num_all, stopping = len(result.expectations), result.stopping
    lesser = [outcome for outcome in result.failed if outcome not in stopping]
    if not result.failed:
        return Html(
            "<header><h1>The pool keeps its contract</h1>"
            f'<p class="soft">All {num_all} expectations hold.</p></header>'
        )
    style, title, words = "warn", "The pool keeps its contract, with reservations", ""
    if stopping:
        style, title = "bad", "The pool breaks its contract"
        words = f"{len(stopping)} of {num_all} expectations failed, so the run stops. "
    if lesser:
        words += f"{len(lesser)} of {num_all} failed that do not stop the run."
    reasons = "".join(
        f"<li>{_badge(o)} {render_value(describe(o))}</li>" for o in stopping + lesser
    )
    steps = dict.fromkeys(outcome["next_step"] for outcome in stopping + lesser)
    return Html(
        f'<header class="{style}"><h1>{title}</h1><p class="soft">{words}</p><ul>{reasons}</ul>'
        f"{''.join(f'<p>Next: {render_value(step)}.</p>' for step in steps)}</header>"
    )


def _badge(outcome: Outcome) -> Html:
    if outcome["success"]:
        return Html('<b class="good">holds</b>')
    style = "bad" if outcome["severity"] == "critical" else "warn"
    return Html(f'<b class="{style}">fails</b>')


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
    figures = [_sizes(measured)]
    for name, title in _DISTRIBUTIONS.items():
        values = _finite_numbers(measured, name)
        figures.append(render_histogram(values, title) if len(values) else _nothing_about(name))
    return Html(f'<div class="figures">{"".join(figures)}</div>')


def _sizes(pool: pa.Table) -> Html:
    if not {"width", "height"} <= set(pool.column_names):
        return _nothing_about("width and height")
    both = pool.select(["width", "height"]).drop_null()
    if not both.num_rows:
        return _nothing_about("width and height")
    return render_heatmap(
        both["width"].to_numpy(),
        both["height"].to_numpy(),
        title="Image size, px",
        names=("width", "height"),
    )


def _scripts(pool: pa.Table) -> Html:
    if "caption" not in pool.column_names or not pool.num_rows:
        return _nothing_about("caption")
    rows = np.arange(pool.num_rows)
    note = "Every caption was read."
    if pool.num_rows > _NUM_CAPTIONS_READ:
        draw = np.random.default_rng(_SEED)
        rows = np.sort(draw.choice(pool.num_rows, _NUM_CAPTIONS_READ, replace=False))
        note = (
            f"Sampled: {len(rows):,} of {pool.num_rows:,} captions were read (seed {_SEED}); "
            f"shares carry about {50 / np.sqrt(len(rows)):.2f} % of standard error at most."
        )
    names, counts = np.unique(
        scripts_of(pool["caption"].take(rows).drop_null()), return_counts=True
    )
    order = sorted(zip(counts.tolist(), names, strict=True), key=lambda pair: (-pair[0], pair[1]))
    table = render_table(
        {"Script of most letters": "name", "Captions": "number", "Of those read": "bar"},
        [(name, n, _bar(n, largest=order[0][0], whole=len(rows))) for n, name in order],
    )
    return Html(f'<p class="soft">{note}</p>{table}')


def _finite_numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.empty(0)
    values = table[name].drop_null().to_numpy()
    return values[np.isfinite(values)]


def _thumbnails(evidence: pa.Table) -> dict[str, Html]:
    """Give the pictures of images that stay often, by image hash."""
    shown = evidence.filter(pc.equal(evidence["rule"], REPEATED))
    return {row["matched_to"]: render_image(row["thumbnail"]) for row in shown.to_pylist()}


def _most_repeated(pool: pa.Table, column: str, pictures: dict[str, Html] | None = None) -> Html:
    """List the values that most pairs share; what stands beside each is of the first such pair."""
    if column not in pool.column_names:
        return _nothing_about(column)
    top = most_repeated(pool[column])
    if not top.num_rows:
        return Html('<p class="soft">None occurs twice.</p>')
    known = [name for name in ("shard", "key", "caption") if name in pool.column_names]
    others = [name for name in known if name != column]
    rows = []
    for row in top.to_pylist():
        first = pool.slice(pc.index(pool[column], row["values"]).as_py(), 1)
        picture = [pictures.get(row["values"], "")] if pictures else []
        rows.append((row["counts"], *picture, row["values"], *(first[name][0] for name in others)))
    headings = {"Pairs": "number"} | ({"Picture": ""} if pictures else {})
    headings |= {_in_words(name): _STYLES[name] for name in (column, *others)}
    return render_table(headings, rows)


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _nothing_about(name: str) -> Html:
    return Html(f'<p class="soft">Nothing to show: no values of {_in_words(name).lower()}.</p>')


def _expectations(result: ContractResult) -> Html:
    entries = [outcome for outcome in result.expectations if not outcome["is_promise"]]
    promises = [outcome for outcome in result.expectations if outcome["is_promise"]]
    num_failed = sum(not outcome["success"] for outcome in promises)
    words = f"{num_failed} fail" if num_failed else "all hold"
    is_open = " open" if num_failed else ""
    return Html(
        f'<p class="soft">Checked by Great Expectations over every pair that is left.</p>'
        f"{_outcomes(entries)}<details{is_open}><summary>{len(promises)} promises of the stages "
        f"before, {words}</summary>{_outcomes(promises)}</details>"
    )


def _outcomes(outcomes: list[Outcome]) -> Html:
    rows = (
        (
            _badge(outcome),
            outcome["severity"],
            outcome["on_breach"],
            outcome["name"],
            _expected(outcome),
            outcome["observed"] if outcome["error"] is None else f"error: {outcome['error']}",
        )
        for outcome in outcomes
    )
    headings = {"": "name", "Severity": "name", "On breach": "name", "Name": "code"}
    return render_table(headings | {"Expected": "wide", "Observed": "wide"}, rows)


def _expected(outcome: Outcome) -> Html:
    kind = outcome["expectation"].removeprefix("expect_").replace("_", " ")
    details = "; ".join(filter(None, [outcome["description"], kind]))
    return Html(
        f"{render_value(outcome['expected'])}"
        f'<br><small class="soft">{render_value(details)}</small>'
    )
