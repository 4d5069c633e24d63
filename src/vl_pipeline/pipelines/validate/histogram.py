"""A histogram as inline SVG, and its summary in words."""

import math

import numpy as np

from vl_pipeline.pipelines.validate.page import Html, render_value

_NUM_BINS = 32
_SHOWN_QUANTILE = 0.99
_WIDTH, _HEIGHT, _MARGIN = 320, 110, 18


def render_histogram(values: np.ndarray, title: str) -> Html:
    """Draw how often values occur, up to their 99th percentile; what lies beyond is said in words.

    Args:
        values: Numbers in any order, at least one; integers get bins that hold whole numbers.
        title: What is measured, with its unit.
    """
    values = np.sort(values)
    last = values[math.ceil(_SHOWN_QUANTILE * len(values)) - 1]
    drawn = values[values <= last]
    counts, _ = np.histogram(drawn, bins=_bin_edges(drawn[0], last))
    num_beyond = len(values) - len(drawn)
    words = f"median {_short(np.median(values))}, from {_short(values[0])} to {_short(values[-1])}"
    if num_beyond:
        words += f"; {num_beyond:,} beyond {_short(last)} not drawn"
    return Html(
        f"<figure><figcaption><b>{render_value(title)}</b>"
        f'<span class="soft">{render_value(words)}</span></figcaption>'
        f"{_draw(counts, first=_short(values[0]), last=_short(last))}</figure>"
    )


def _bin_edges(first: np.number, last: np.number) -> np.ndarray:
    if isinstance(first, np.integer):
        step = max(1, math.ceil((int(last) - int(first) + 1) / _NUM_BINS))
        return np.arange(int(first), int(last) + step + 1, step)
    return np.linspace(first, max(last, first + 1e-6), _NUM_BINS + 1)


def _draw(counts: np.ndarray, *, first: str, last: str) -> str:
    width = _WIDTH / len(counts)
    floor = _HEIGHT - _MARGIN
    heights = counts / max(1, counts.max()) * (floor - _MARGIN)
    bars = "".join(
        f'<rect x="{n * width:.1f}" y="{floor - height:.1f}" width="{max(width - 1, 1):.1f}" '
        f'height="{height:.1f}"/>'
        for n, height in enumerate(heights)
        if height
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{bars}'
        f'<line x1="0" y1="{floor}" x2="{_WIDTH}" y2="{floor}"/>'
        f'<text x="0" y="{_HEIGHT - 4}">{first}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{last}</text>'
        f'<text x="{_WIDTH}" y="11" text-anchor="end">highest bar {counts.max():,}</text></svg>'
    )


def _short(value: np.number) -> str:
    return f"{float(value):.4g}" if float(value) < 10_000 else f"{float(value):,.0f}"
