"""Figures of what a model confuses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from vl_pipeline.data.plotting import GRID, png_figure, printable, show_as_percent

_CLASSES_NAMED = 64  # with more classes the names would overlap
_CLASSES_WRITTEN = 16  # with more classes the numbers would not fit their cells


def draw_confusion(
    confusion: Int64[np.ndarray, "classes classes"], class_names: Sequence[str], path: Path
) -> None:
    """Draw which class images of each class are taken for, as a share of the row.

    Args:
        confusion: Images by true class (row) and predicted class (column).
        class_names: In that order; not written where there are more than 64.
        path: The PNG.
    """
    num_images = confusion.sum(axis=1, keepdims=True)
    share = np.where(num_images > 0, confusion / np.maximum(1, num_images), np.nan)
    side_in = float(np.clip(0.16 * len(confusion), 3.2, 9))
    with png_figure(path, width_in=side_in + 2.8, height_in=side_in + 1.7) as figure:
        figure.set_layout_engine("compressed")  # the picture is square, the figure is not
        axes = figure.add_subplot()
        axes.set_facecolor(GRID)  # shows through where a class has no image
        picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title("Share of each class's images, by predicted class")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if len(confusion) <= _CLASSES_NAMED:
            names = [printable(name, width=24) for name in class_names]
            places = np.arange(len(confusion))
            size = 8.5 if len(confusion) <= 24 else 7
            axes.set_xticks(places, names, rotation=90, fontsize=size)
            axes.set_yticks(places, names, fontsize=size)
            axes.tick_params(length=0)
        bar = figure.colorbar(picture, ax=axes, shrink=0.6, pad=0.02)
        bar.outline.set_visible(False)
        show_as_percent(bar.ax.yaxis)
        if len(confusion) <= _CLASSES_WRITTEN:
            for row, column in np.argwhere(share >= 0.005):
                color = "white" if share[row, column] > 0.6 else "black"
                text = f"{share[row, column] * 100:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
