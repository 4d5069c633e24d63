"""How often two lengths occur together, as inline SVG on logarithmic axes."""

import numpy as np

from vl_pipeline.pipelines.validate.page import Html, render_value

_BINS_PER_DOUBLING = 3
_MAX_DOUBLINGS = 16
_SIDE, _LEFT, _BELOW = 300, 34, 30


def render_heatmap(x: np.ndarray, y: np.ndarray, *, title: str, names: tuple[str, str]) -> Html:
    """Draw the joint distribution of two columns of positive lengths, stronger where more.

    Args:
        x: Lengths, at least one.
        y: The other lengths, same order.
        title: What is measured, with its unit.
        names: What the axes are called.
    """
    both = np.log2(np.clip(np.stack([x, y]).astype(np.float64), 1, None))
    first = np.floor(both.min())
    doublings = int(np.clip(np.ceil(both.max() + 1e-9) - first, 1, _MAX_DOUBLINGS))
    edges = first + np.arange(doublings * _BINS_PER_DOUBLING + 1) / _BINS_PER_DOUBLING
    counts, _, _ = np.histogram2d(*np.clip(both, edges[0], edges[-1]), bins=[edges, edges])
    medians = f"median {np.median(x):,.0f} x {np.median(y):,.0f}"
    return Html(
        f"<figure><figcaption><b>{render_value(title)}</b>"
        f'<span class="soft">{render_value(medians)}; the stronger the colour, the more '
        f"pairs, on a logarithmic scale</span></figcaption>"
        f"{_draw(counts, edges.tolist(), names)}</figure>"
    )


def _draw(counts: np.ndarray, edges: list[float], names: tuple[str, str]) -> str:
    step = _SIDE / len(counts)
    shades = np.log1p(counts) / np.log1p(counts.max())
    cells = "".join(
        f'<rect x="{_LEFT + column * step:.1f}" y="{_SIDE - (row + 1) * step:.1f}" '
        f'width="{step:.1f}" height="{step:.1f}" fill-opacity="{0.08 + 0.92 * shade:.2f}">'
        f"<title>{_px(edges[column])} to {_px(edges[column + 1])} x {_px(edges[row])} to "
        f"{_px(edges[row + 1])}: {counts[column, row]:,.0f}</title></rect>"
        for (column, row), shade in np.ndenumerate(shades)
        if shade
    )
    every = 1 if len(counts) <= 8 * _BINS_PER_DOUBLING else 2
    ticks = "".join(
        f'<text x="{_LEFT + place:.1f}" y="{_SIDE + 14}" text-anchor="middle">{text}</text>'
        f'<text x="{_LEFT - 5}" y="{_SIDE - place + 4:.1f}" text-anchor="end">{text}</text>'
        for n, text in enumerate(_px(edge) for edge in edges[::_BINS_PER_DOUBLING])
        if n % every == 0
        for place in [n * _BINS_PER_DOUBLING * step]
    )
    axes = (
        f'<line x1="{_LEFT}" y1="{_SIDE}" x2="{_LEFT + _SIDE}" y2="{_SIDE}"/>'
        f'<line x1="{_LEFT}" y1="0" x2="{_LEFT}" y2="{_SIDE}"/>'
        f'<line x1="{_LEFT}" y1="{_SIDE}" x2="{_LEFT + _SIDE}" y2="0" stroke-dasharray="3 4"/>'
        f'<text x="{_LEFT + _SIDE}" y="{_SIDE + 27}" text-anchor="end">'
        f"{render_value(names[0])}</text>"
        f'<text x="{_LEFT + 6}" y="11">{render_value(names[1])}</text>'
    )
    box = f"-4 -4 {_LEFT + _SIDE + 20} {_SIDE + _BELOW + 8}"
    return f'<svg viewBox="{box}" role="img">{cells}{axes}{ticks}</svg>'


def _px(edge: float) -> str:
    return f"{2.0**edge:,.0f}"
