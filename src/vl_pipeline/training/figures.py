"""Figures of how a training went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_pipeline.data.plotting import (
    KEPT,
    MARK,
    QUIET,
    png_figure,
    show_as_counts,
    show_as_percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN_OF_TASK = ("zero_shot_top1", "text_to_image_recall_at_5")

Records = Sequence[Mapping[str, Any]]
"""What was recorded, oldest first; a record may lack a quantity."""


def draw_training_curves(history: Records, rounds: Records, path: Path) -> None:
    """Draw loss, temperature and learning rate over pairs seen, and what each round kept.

    Args:
        history: Records of steps with `step` (from 1), `pairs_seen`, `loss_total`, `temperature`
            and `learning_rate`.
        rounds: Records of decisions with `step`, and where they have them `keep_fraction`,
            `overlap_with_previous_round` and `target_drift`; empty for a method that decides
            nothing during training.
        path: The PNG.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise ValueError("a history without records has no curve")
    from matplotlib.ticker import MaxNLocator

    heights = [2.6, 1.5, 1.9] if rounds else [2.6, 1.5]
    with png_figure(path, width_in=8, height_in=sum(heights) + 0.5) as figure:
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        loss = figure.add_subplot(grid[0, :])
        _draw_quantity(loss, history, "loss_total", "Loss (nats)", color=KEPT)
        others = [
            ("temperature", "Temperature", grid[1, 0]),
            ("learning_rate", "Learning rate", grid[1, 1]),
        ]
        for name, title, cell in others:
            _draw_quantity(figure.add_subplot(cell, sharex=loss), history, name, title, color=QUIET)
        if rounds:
            batch_size = history[-1]["pairs_seen"] / history[-1]["step"]
            _draw_rounds(figure, grid, rounds, loss, batch_size)
        last = history[-1]["pairs_seen"]
        loss.set_xlim(-0.02 * last, 1.02 * last)
        loss.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        for axes in figure.axes[-2:]:
            axes.set_xlabel("pairs seen")


def draw_validation(validation: Records, path: Path) -> None:
    """Draw the main metric of each task over pairs seen.

    Args:
        validation: Records with `pairs_seen`, and for each task `<task>_zero_shot_top1` or
            `<task>_text_to_image_recall_at_5`.
        path: The PNG.
    """
    with png_figure(path, width_in=8, height_in=3.2) as figure:
        axes = figure.add_subplot()
        for name in validation[0]:
            for metric in _SHOWN_OF_TASK:
                if name.endswith(f"_{metric}"):
                    label = f"{name.removesuffix(f'_{metric}')} ({metric.replace('_', ' ')})"
                    title = "On validation splits"
                    _draw_quantity(axes, validation, name, title, marker="o", label=label)
        axes.legend(loc="best")
        axes.set_xlabel("pairs seen")
        axes.set_ylim(0)
        show_as_percent(axes.yaxis)


def _draw_rounds(
    figure: "Figure", grid: Any, rounds: Records, shared: "Axes", batch_size: float
) -> None:
    placed = [{**record, "pairs_seen": record["step"] * batch_size} for record in rounds]
    shares = figure.add_subplot(grid[2, 0], sharex=shared)
    title = "Share kept per round"
    _draw_quantity(shares, placed, "keep_fraction", title, color=KEPT, marker="o", label="kept")
    if any("overlap_with_previous_round" in record for record in rounds):
        _draw_quantity(
            shares,
            placed,
            "overlap_with_previous_round",
            title,
            color=MARK,
            marker="s",
            label="overlap with the round before",
        )
        shares.legend(loc="best")
    shares.set_ylim(0)
    show_as_percent(shares.yaxis)
    moved = figure.add_subplot(grid[2, 1], sharex=shared)
    title = "Drift of the target texts (cosine distance)"
    _draw_quantity(moved, placed, "target_drift", title, color=KEPT, marker="o")
    moved.set_ylim(0)


def _draw_quantity(axes: "Axes", records: Records, name: str, title: str, **line: Any) -> None:
    points = [(r["pairs_seen"], r[name]) for r in records if r.get(name) is not None]
    x, y = np.array(points, dtype=float).reshape(-1, 2).T
    if len(x) == 1:
        line = {"marker": "o", **line}
    axes.plot(x, y, markersize=3.5, **line)
    axes.set_title(title)
    show_as_counts(axes.xaxis)
