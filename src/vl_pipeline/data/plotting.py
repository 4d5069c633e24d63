"""One look for every figure, and PNG files whose bytes depend on what is drawn alone.

Figures are made without pyplot, so no window system, global state or leftover figure is involved.
"""

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from vl_pipeline.data.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#24292f"
QUIET = "#6e7781"
KEPT = "#2f6fb3"
DROPPED = "#b8bfc7"
MARK = "#d1571f"
GRID = "#e4e7ea"

_DPI = 120
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.formatter.useoffset": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "text.parse_math": False,  # captions hold dollar signs, not formulas
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@contextmanager
def png_figure(path: Path, *, width_in: float, height_in: float) -> Iterator["Figure"]:
    """Give an empty figure, and write it to `path` as PNG when the block ends well.

    Equal drawings give equal bytes. The reader's own matplotlib settings play no part.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width_in, height_in))
        yield figure
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def show_as_percent(axis: "Axis") -> None:
    """Label an axis of fractions with as many digits as each tick needs; in place."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def show_as_counts(axis: "Axis") -> None:
    """Label an axis of counts with thousands separated; in place."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def use_log_ticks(axis: "Axis") -> None:
    """Label 1, 2 and 5 times each power of ten, or fewer where they would crowd; in place."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def mark_value(axes: "Axes", value: float, text: str) -> None:
    """Draw a vertical line at `value`, described in the legend; in place."""
    axes.axvline(value, color=MARK, linewidth=1.4, linestyle=(0, (4, 2)), label=text)


def percent(fraction: float) -> str:
    """Write a fraction as a percentage with three significant digits."""
    return f"{fraction * 100:.3g} %"


def printable(text: str, *, width: int, max_lines: int = 1) -> str:
    """Make any text safe to draw, in at most `max_lines` lines of `width` characters.

    Control characters become spaces, runs of spaces one, lone surrogates question marks, and what
    does not fit an ellipsis.
    """
    without_surrogates = text.encode("utf-8", "replace").decode()
    plain = "".join(c if c.isprintable() else " " for c in without_surrogates)
    plain = " ".join(plain.split())
    num_wide = sum(unicodedata.east_asian_width(c) in "WF" for c in plain)  # as wide as two letters
    width = max(2, width * len(plain) // max(1, len(plain) + num_wide))
    return "\n".join(wrap(plain, width, max_lines=max_lines, placeholder=" …"))
