"""Figures of a sweep: accuracy and kept share against thresholds, and what accuracy costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vl_pipeline.data.plotting import (
    png_figure,
    show_as_counts,
    show_as_percent,
    use_log_ticks,
)
from vl_pipeline.sweep.table import MAIN_METRICS, Row, Spread, best_by_validation, by_strategy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = (
    *("#2f6fb3", "#d1571f", "#57606a", "#2d8a57", "#8a4fbf", "#b8860b", "#c2388d", "#159ba8"),
    *("#7a5c3e", "#24292f", "#9aa532", "#5566dd"),
)
_MARKERS = "osD^vP*Xh<>d"


def draw_sweep(folder: Path, rows: Sequence[Row], *, targets: Sequence[str]) -> None:
    """Fill a folder with figures; the two over thresholds only where strategies vary one."""
    varied = [row for row in rows if row.threshold is not None and row.value == row.threshold]
    if varied:
        _draw_against_threshold(folder / "accuracy_against_threshold.png", rows, varied)
        _draw_kept(folder / "kept_against_threshold.png", varied)
    _draw_pareto(folder / "pareto.png", rows, targets)


def _draw_against_threshold(path: Path, rows: Sequence[Row], varied: Sequence[Row]) -> None:
    """A panel a task: each strategy over its thresholds, the others as level lines."""
    tasks = rows[0].tasks
    level = [row for row in rows if row.value is None]
    with png_figure(path, width_in=4.4 * len(tasks), height_in=3.8) as figure:
        for number, task in enumerate(tasks):
            axes = figure.add_subplot(1, len(tasks), number + 1)
            for strategy, group in by_strategy(varied).items():
                _bars(axes, group, [row.evaluated(task) for row in group], strategy, rows)
            for row in level:
                color = _color(row.strategy, rows)
                axes.axhline(row.evaluated(task).mean, linestyle="--", label=row.label, color=color)
            axes.set_title(task)
            axes.set_xlabel("threshold")
            axes.set_ylim(0)
            show_as_percent(axes.yaxis)
        figure.axes[-1].legend(loc="best")


def _draw_kept(path: Path, varied: Sequence[Row]) -> None:
    with png_figure(path, width_in=6, height_in=3.4) as figure:
        axes = figure.add_subplot()
        for strategy, group in by_strategy(varied).items():
            _bars(axes, group, [row.kept_share for row in group], strategy, varied)
        axes.set_title("Kept share of the pairs that were looked at")
        axes.set_xlabel("threshold")
        axes.set_ylim(0)
        show_as_percent(axes.yaxis)
        axes.legend(loc="best")


def _draw_pareto(path: Path, rows: Sequence[Row], targets: Sequence[str]) -> None:
    """A line of panels for each target: accuracy over pairs seen, seconds, and pairs kept."""
    shown = [task for task in targets if task in rows[0].tasks]
    with png_figure(path, width_in=13, height_in=3.9 * len(shown)) as figure:
        for line, task in enumerate(shown):
            panels = [figure.add_subplot(len(shown), 3, 3 * line + n) for n in (1, 2, 3)]
            for group in by_strategy(rows).values():
                best = best_by_validation(group, targets)
                _draw_course(panels[0], best, task, rows)
                for row in group:
                    _draw_point(panels[1], row.seconds, row.evaluated(task), row, rows)
                    _draw_point(panels[2], row.num_different_pairs, row.evaluated(task), row, rows)
            for axes, title, x in zip(
                panels,
                (
                    f"{task}, val, while training",
                    f"{task}, after training",
                    f"{task}, after training",
                ),
                ("pairs seen", "seconds of training", "different pairs trained on"),
                strict=True,
            ):
                axes.set_title(title)
                axes.set_xlabel(x)
                show_as_percent(axes.yaxis)
                show_as_counts(axes.xaxis)
            panels[2].set_xscale("log")
            use_log_ticks(panels[2].xaxis)
            show_as_counts(panels[2].xaxis)
            panels[0].legend(loc="best", ncols=2)


def _draw_course(axes: "Axes", row: Row, task: str, rows: Sequence[Row]) -> None:
    name = f"{task}_{MAIN_METRICS[0]}"
    courses = [[p[name] for p in r["validation"] if name in p] for r in row.results]
    if not courses[0]:
        return
    x = [p["pairs_seen"] for p in row.results[0]["validation"]]
    values = np.array(courses)
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1 if len(values) > 1 else 0)
    color = _color(row.strategy, rows)
    axes.plot(x, mean, label=row.label, color=color)
    axes.fill_between(x, mean - deviation, mean + deviation, alpha=0.15, linewidth=0, color=color)


def _draw_point(axes: "Axes", x: Spread, y: Spread, row: Row, rows: Sequence[Row]) -> None:
    axes.errorbar(
        [x.mean],
        [y.mean],
        xerr=[x.deviation],
        yerr=[y.deviation],
        marker=_MARKERS[_number(row.strategy, rows) % len(_MARKERS)],
        linestyle="none",
        color=_color(row.strategy, rows),
    )
    if row.value is not None:
        axes.annotate(
            f"{row.value:g}", (x.mean, y.mean), textcoords="offset points", xytext=(5, 4), size=7
        )


def _bars(
    axes: "Axes",
    group: Sequence[Row],
    spreads: Sequence[Spread],
    strategy: str,
    rows: Sequence[Row],
) -> None:
    x = np.array([row.value for row in group], dtype=float)
    means, deviations = [s.mean for s in spreads], [s.deviation for s in spreads]
    axes.errorbar(
        x,
        means,
        yerr=deviations,
        marker="o",
        capsize=3,
        label=strategy,
        color=_color(strategy, rows),
    )


def _color(strategy: str, rows: Sequence[Row]) -> str:
    return _COLORS[_number(strategy, rows) % len(_COLORS)]


def _number(strategy: str, rows: Sequence[Row]) -> int:
    return list(by_strategy(rows)).index(strategy)
