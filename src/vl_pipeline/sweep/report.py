"""What a sweep says, in words and tables: which value to take, and how sure that is."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from vl_pipeline.sweep.run import Result
from vl_pipeline.sweep.table import (
    Row,
    Spread,
    best_by_validation,
    by_strategy,
    mean_validated,
    metric_of,
)

_RELAXED = 0.5  # of what was kept; beyond it the threshold is not what chose
_STANDARD_ERRORS = 2.0  # a mean difference of fewer is called a tie


def write_report(
    rows: Sequence[Row],
    failed: Sequence[Result],
    *,
    targets: Sequence[str],
    reference: str,
    split: str,
) -> str:
    """Write the report in Markdown.

    Args:
        rows: See `rows_of`.
        failed: Cells that could not be trained.
        targets: Tasks whose texts the pool was curated for.
        reference: Strategy that the others are timed against.
        split: That the table's accuracies are measured on.
    """
    num_pairs = rows[0].results[0]["training"]["pairs_seen"]
    num_seeds = max(len(row.results) for row in rows)
    return "\n".join(
        [
            "# Sweep",
            "",
            f"{len(rows)} settings, {num_seeds} seeds, {num_pairs:,} pairs seen by each training, "
            f"evaluated on the {split} split after the last step. Mean ± standard deviation over "
            f"seeds. Values are chosen on the validation split.",
            "",
            *_table_lines(rows, targets),
            "",
            "## Which value to take",
            "",
            *_choice_lines(rows, targets),
            "",
            "## How many pairs it takes",
            "",
            *_time_lines(rows, targets, reference),
            "",
            "## What the threshold did",
            "",
            *_relaxation_lines(rows),
            "",
            *_failure_lines(failed),
        ]
    )


def write_csv(rows: Sequence[Row]) -> str:
    """Write the table as CSV, a row per strategy and value; accuracies in [0, 1]."""
    tasks = rows[0].tasks
    measured = [f"{task}_{metric_of(rows[0].results[0]['metrics'][task])}" for task in tasks]
    numbers = [*measured, "kept_share", "relaxed_share", "num_different_pairs", "seconds"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [f"{name}_{part}" for name in numbers for part in ("mean", "sd")]
    writer.writerow(["strategy", "value", "threshold", "num_seeds", "pairs_seen", *header])
    for row in rows:
        spreads = [*(row.evaluated(task) for task in tasks), row.kept_share, row.relaxed_share]
        spreads += [row.num_different_pairs, row.seconds]
        cells = [f"{x:.6g}" for spread in spreads for x in (spread.mean, spread.deviation)]
        pairs_seen = row.results[0]["training"]["pairs_seen"]
        writer.writerow(
            [row.strategy, row.value, row.threshold, len(row.results), pairs_seen, *cells]
        )
    return text.getvalue()


def summary_metrics(rows: Sequence[Row], *, targets: Sequence[str]) -> dict[str, float]:
    """Numbers for the parent run: each strategy at the value that validation chooses.

    A strategy of several values of which none can be chosen has none.
    """
    metrics: dict[str, float] = {"num_cells": sum(len(row.results) for row in rows)}
    for strategy, group in by_strategy(rows).items():
        if len(group) > 1 and not _is_validated(group, targets):
            continue
        best = best_by_validation(group, targets)
        for task in best.tasks:
            spread, name = best.evaluated(task), f"{task}_{_plain(strategy)}"
            metrics |= {f"{name}_mean": spread.mean, f"{name}_sd": spread.deviation}
        if best.value is not None:
            metrics[f"chosen_{_plain(strategy)}"] = best.value
    return metrics


def _table_lines(rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    tasks = rows[0].tasks
    names = [
        f"{task}{'' if task in targets else ' (not a target)'} "
        f"{'top-1' if metric_of(rows[0].results[0]['metrics'][task]).endswith('top1') else 'R@5'} %"
        for task in tasks
    ]
    lines = [
        f"| strategy | kept % | different pairs | seconds | {' | '.join(names)} |",
        f"| --- | --- | --- | --- | {' | '.join('---' for _ in names)} |",
    ]
    for row in rows:
        accuracies = " | ".join(_percent(row.evaluated(task)) for task in tasks)
        lines.append(
            f"| {row.label} | {100 * row.kept_share.mean:.1f} "
            f"| {row.num_different_pairs.mean:,.0f} | {row.seconds.mean:,.0f} | {accuracies} |"
        )
    return lines


def _choice_lines(rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for strategy, group in by_strategy(rows).items():
        if len(group) < 2:
            continue
        if not _is_validated(group, targets):
            lines.append(f"- `{strategy}`: no target has a val split, so nothing can be chosen.")
            continue
        best = best_by_validation(group, targets)
        others = [row for row in group if row is not best]
        lines.append(
            f"- `{strategy}`: take {best.value:g} ({_percent_of(mean_validated(best, targets))} "
            f"on val). " + " ".join(_against(best, other, targets) for other in others)
        )
    return lines or ["No strategy has more than one value."]


def _is_validated(group: Sequence[Row], targets: Sequence[str]) -> bool:
    return any(row.validated(task) for row in group for task in targets)


def _against(best: Row, other: Row, targets: Sequence[str]) -> str:
    gains = _paired_gains(best, other, targets)
    mean, num = float(np.mean(gains)), len(gains)
    if num < 2:
        return (
            f"Against {other.value:g}: {100 * mean:+.1f} points in one seed, which settles little."
        )
    error = float(np.std(gains, ddof=1)) / np.sqrt(num)
    sure = "clearly ahead" if mean > _STANDARD_ERRORS * error else "cannot be told apart"
    return (
        f"Against {other.value:g}: {100 * mean:+.1f} ± {100 * error:.1f} points (mean and standard "
        f"error over {num} seeds, ahead in {int((gains > 0).sum())}): {sure}."
    )


def _paired_gains(best: Row, other: Row, targets: Sequence[str]) -> np.ndarray:
    """Validation accuracy gained, by seeds that both ran, averaged over targets."""
    gains = []
    for task in targets:
        first, second = best.validated(task), other.validated(task)
        if first is not None and second is not None:
            seeds = {r["seed"]: v for r, v in zip(other.results, second.values, strict=True)}
            pairs = zip(best.results, first.values, strict=True)
            gains.append([v - seeds[r["seed"]] for r, v in pairs if r["seed"] in seeds])
    return np.mean(gains, axis=0)


def _time_lines(rows: Sequence[Row], targets: Sequence[str], reference: str) -> list[str]:
    groups = by_strategy(rows)
    if reference not in groups:
        return [f"`{reference}` could not be trained, so there is nothing to time against."]
    wanted = best_by_validation(groups[reference], targets)
    lines: list[str] = []
    for task in targets:
        goal = wanted.validated(task)
        if goal is None:
            lines.append(f"`{task}` has no val split.")
            continue
        total = wanted.results[0]["training"]["pairs_seen"]
        lines += [
            f"Pairs seen until the first validation at the final accuracy of `{wanted.label}` on "
            f"`{task}` ({_percent_of(goal.mean)} on val after {total:,} pairs):",
            "",
            "| strategy | median | share | by seed |",
            "| --- | --- | --- | --- |",
        ]
        for group in groups.values():
            best = best_by_validation(group, targets)
            reached = best.first_reach(task, goal.mean)
            lines.append(f"| {best.label} | {_median_lines(reached, total)} |")
        lines.append("")
    return lines


def _median_lines(reached: Sequence[float | None], total: float) -> str:
    by_seed = ", ".join("never" if pairs is None else f"{pairs:,.0f}" for pairs in reached)
    ordered = sorted(np.inf if pairs is None else pairs for pairs in reached)
    median = float(np.median(ordered)) if np.isfinite(ordered[len(ordered) // 2]) else np.inf
    if not np.isfinite(median):
        return f"not reached | | {by_seed}"
    return f"{median:,.0f} | {100 * median / total:.0f} % | {by_seed}"


def _relaxation_lines(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for strategy, group in by_strategy(rows).items():
        relaxed = [row for row in group if row.relaxed_share.mean > _RELAXED]
        if len(relaxed) > 1:
            values = ", ".join(f"{row.value:g}" for row in relaxed if row.value is not None)
            lines.append(
                f"- `{strategy}` at {values}: relaxation, not the threshold, kept most pairs "
                f"({', '.join(_percent_of(row.relaxed_share.mean) for row in relaxed)}), so these "
                f"values are indistinguishable by design; lower min_keep_fraction to compare them."
            )
        elif relaxed:
            lines.append(
                f"- `{strategy}` at {relaxed[0].label}: relaxation kept "
                f"{_percent_of(relaxed[0].relaxed_share.mean)} of the pairs, not the threshold."
            )
    return lines or ["Thresholds, not relaxation, kept most pairs in every setting."]


def _failure_lines(failed: Sequence[Result]) -> list[str]:
    if not failed:
        return []
    lines = ["## What could not be trained", ""]
    for cell in failed:
        name = (
            cell["strategy"] if cell["value"] is None else f"{cell['strategy']} {cell['value']:g}"
        )
        lines.append(f"- `{name}`, seed {cell['seed']}: {cell['error']}")
    return [*lines, ""]


def _percent(spread: Spread) -> str:
    return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f}"


def _percent_of(share: float) -> str:
    return f"{100 * share:.1f} %"


def _plain(strategy: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in strategy)
