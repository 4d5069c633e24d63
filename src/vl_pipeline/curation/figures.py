"""Figures of what a curator did: scores, the threshold, target texts, and the pairs themselves."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vl_pipeline.curation.statistics import kept_against_threshold
from vl_pipeline.data.plotting import (
    DROPPED,
    KEPT,
    MARK,
    mark_value,
    percent,
    png_figure,
    printable,
    show_as_counts,
    show_as_percent,
    use_log_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import TransformedBbox

PairToShow = tuple[UInt8[np.ndarray, "height width 3"], str, float]
"""Pixels, caption and score (NaN for curators that rank nothing) of one pair."""

_BINS = 60
_THRESHOLDS = 400
_TARGETS_SHOWN = 40
_COLUMNS = 8
_CELL_WIDTH_IN, _CELL_HEIGHT_IN = 1.45, 2.08
_PICTURE_IN = 1.3  # the longer side
_TITLE_IN = 0.42
_SKEWED = 30  # a largest count this many times the median one is drawn on a log axis


def draw_score_histogram(
    score: Float32[np.ndarray, " n"], threshold: float | None, path: Path
) -> None:
    """Draw how the candidates' scores are distributed, and what lies above the threshold.

    Raises:
        ValueError: If there is no score, or one is not finite.
    """
    _require_scores(score)
    with png_figure(path, width_in=7.5, height_in=3.6) as figure:
        axes = figure.add_subplot()
        above = score > (-np.inf if threshold is None else threshold)
        axes.hist(
            [score[above], score[~above]],
            bins=_bin_edges(score, threshold),
            stacked=True,
            color=[KEPT, DROPPED],
        )
        axes.set_title(f"Scores of {len(score):,} candidates")
        axes.set_xlabel("score")
        axes.set_ylabel("candidates")
        show_as_counts(axes.yaxis)
        if threshold is not None:
            share = percent(float(above.mean()))
            mark_value(axes, threshold, f"threshold {threshold:.3g}: {share} above")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def draw_kept_against_threshold(
    score: Float32[np.ndarray, " n"], threshold: float | None, path: Path
) -> None:
    """Draw the share of candidates that each threshold would keep, without relaxation.

    Raises:
        ValueError: If there is no score, or one is not finite.
    """
    _require_scores(score)
    thresholds = np.linspace(score.min(), score.max(), _THRESHOLDS)
    share = np.array(kept_against_threshold(score, thresholds.tolist()))
    with png_figure(path, width_in=7.5, height_in=3.6) as figure:
        axes = figure.add_subplot()
        axes.set_yscale("log")
        axes.set_ylim(max(1 / len(score), 1e-6) * 0.8, 1.25)
        axes.step(thresholds, np.where(share > 0, share, np.nan), where="post", color=KEPT)
        use_log_ticks(axes.yaxis)
        show_as_percent(axes.yaxis)
        axes.set_title(f"What a threshold keeps of {len(score):,} candidates")
        axes.set_xlabel("threshold")
        axes.set_ylabel("share kept (log)")
        if threshold is not None:
            current = kept_against_threshold(score, [threshold])[0]
            mark_value(axes, threshold, f"threshold {threshold:.3g} keeps {percent(current)}")
            axes.plot(threshold, current or np.nan, "o", color=MARK)
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def draw_hits_per_target(
    before: Int64[np.ndarray, " targets"],
    after: Int64[np.ndarray, " targets"] | None,
    target_texts: Sequence[str],
    path: Path,
) -> None:
    """Draw how many pairs are nearest to each target text: the 40 most hit, and a line on the rest.

    Args:
        before: Hits of one selection; decides the order.
        after: Hits of a later one, to compare; None to leave it out.
        target_texts: What the counts belong to.
        path: The PNG.
    """
    order = np.argsort(-before, kind="stable")
    shown, hidden = order[:_TARGETS_SHOWN], order[_TARGETS_SHOWN:]
    with png_figure(path, width_in=7.5, height_in=1.1 + 0.24 * len(shown)) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(shown))
        height = 0.8 if after is None else 0.4
        color = KEPT if after is None else DROPPED
        axes.barh(places - (0.8 - height) / 2, before[shown], height, color=color, label="before")
        if after is not None:
            axes.barh(places + 0.2, after[shown], height, color=KEPT, label="after")
            axes.legend(loc="lower right")
        axes.set_yticks(places, [printable(target_texts[int(i)], width=32) for i in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        _scale_counts(axes, before[shown])
        axes.set_xlabel(_describe_hidden(before, after, hidden))
        axes.set_title(f"Pairs nearest to each of {len(order):,} target texts")


def draw_rules(left: Sequence[int], rules: Sequence[str], path: Path) -> None:
    """Draw how many pairs are left before and after each rule, one after the other.

    Args:
        left: Pairs before the first rule, then after each.
        rules: What each rule is called, with what it accepts.
        path: The PNG.
    """
    with png_figure(path, width_in=7.5, height_in=1.1 + 0.42 * len(rules)) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(rules))
        for shift, counts, color, label in (
            (-0.2, left[:-1], DROPPED, "before"),
            (0.2, left[1:], KEPT, "after"),
        ):
            axes.barh(places + shift, counts, 0.4, color=color, label=label)
        for place, before, after in zip(places.tolist(), left[:-1], left[1:], strict=True):
            share = percent((before - after) / max(1, before))
            axes.text(after, place + 0.2, f"  -{before - after:,} ({share})", va="center", size=7.5)
        axes.set_yticks(places, [printable(rule, width=36, max_lines=2) for rule in rules])
        axes.set_ylim(len(rules) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.25 * max(1, left[0]))
        show_as_counts(axes.xaxis)
        axes.set_xlabel("pairs")
        axes.set_title(f"Pairs before and after each rule: {left[0]:,} in, {left[-1]:,} left")
        axes.legend(loc="lower right")


def draw_kept_and_dropped(
    kept: Sequence[PairToShow], dropped: Sequence[PairToShow], path: Path
) -> None:
    """Draw pairs that were kept above pairs that were dropped, eight in a row, with their scores.

    The caller chooses which pairs: a few rows of each, in the order in which they are drawn.
    """
    bands = {"Kept": kept, "Dropped": dropped}
    heights = [_TITLE_IN + _CELL_HEIGHT_IN * ceil(len(b) / _COLUMNS) for b in bands.values()]
    width_in, height_in = _CELL_WIDTH_IN * _COLUMNS, sum(heights)
    with png_figure(path, width_in=width_in, height_in=height_in) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))  # one unit is one inch, from the top left corner
        axes.set_axis_off()
        top = 0.0
        for (title, pairs), height in zip(bands.items(), heights, strict=True):
            text = title if pairs else f"{title}: none"
            axes.text(0.1, top + 0.22, text, va="center", fontweight="bold", fontsize=11)
            for place, pair in enumerate(pairs):
                row, column = divmod(place, _COLUMNS)
                _draw_pair(
                    axes, pair, column * _CELL_WIDTH_IN, top + _TITLE_IN + row * _CELL_HEIGHT_IN
                )
            top += height
        axes.set(xlim=(0, width_in), ylim=(height_in, 0))


def _bin_edges(score: np.ndarray, threshold: float | None) -> list[float]:
    edges = np.histogram_bin_edges(score, _BINS)
    if threshold is not None:  # moved so that no bin lies across the threshold
        width = edges[1] - edges[0]
        edges = np.append(edges, edges[-1] + width) - (edges[0] - threshold) % width
    return edges.tolist()


def _require_scores(score: np.ndarray) -> None:
    if not len(score) or not np.isfinite(score).all():
        raise ValueError(f"{len(score)} scores, all finite and at least one, are needed to draw")


def _scale_counts(axes: "Axes", counts: np.ndarray) -> None:
    hit = counts[counts > 0]
    if len(hit) and hit.max() > _SKEWED * np.median(hit):
        axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0)
    show_as_counts(axes.xaxis)


def _describe_hidden(before: np.ndarray, after: np.ndarray | None, hidden: np.ndarray) -> str:
    if not len(hidden):
        return "pairs"
    hits = f"{before[hidden].sum():,} pairs"
    if after is not None:
        hits += f" before, {after[hidden].sum():,} after"
    return f"pairs\n{len(hidden):,} more target texts are not shown ({hits})"


def _draw_pair(axes: "Axes", pair: PairToShow, left: float, top: float) -> None:
    pixels, caption, score = pair
    height, width = (side * _PICTURE_IN / max(pixels.shape[:2]) for side in pixels.shape[:2])
    middle, bottom = left + _CELL_WIDTH_IN / 2, top + _PICTURE_IN
    extent = (middle - width / 2, middle + width / 2, bottom, bottom - height)
    axes.imshow(pixels, interpolation="antialiased", aspect="auto", extent=extent)
    text = printable(caption, width=24, max_lines=4)
    if not np.isnan(score):
        text = f"{score:.3f}\n{text}"
    written = axes.text(middle, bottom + 0.06, text, ha="center", va="top", fontsize=7)
    written.set_clip_on(True)
    written.set_clip_box(_cell(axes, left, top))


def _cell(axes: "Axes", left: float, top: float) -> "TransformedBbox":
    from matplotlib.transforms import Bbox, TransformedBbox

    box = Bbox.from_extents(left, top, left + _CELL_WIDTH_IN, top + _CELL_HEIGHT_IN)
    return TransformedBbox(box, axes.transData)
