"""Batches of image views, loaded ahead of the training step by threads.

What a view shows depends on the seed, the step and the pair, and on nothing else: not on the
number of threads, nor on which of them loads it, nor on where a run was interrupted.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from vl_pipeline.data.pool import PoolImages, Rows
from vl_pipeline.data.views import TrainingViews, evaluation_view, training_views
from vl_pipeline.errors import ParameterError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class ViewLoader:
    """Loads training views of pool images."""

    def __init__(
        self,
        images: PoolImages,
        views: TrainingViews,
        *,
        side_px: int,
        num_views: int,
        seed: int,
        resize_px: int | None = None,
    ) -> None:
        """See `load`, and `training_views` on `resize_px`.

        Raises:
            ParameterError: If the views are drawn by area and the model resizes first, or neither.
        """
        if (views.min_crop_fraction is None) == (resize_px is None):
            raise ParameterError(
                f"views.min_crop_fraction is {views.min_crop_fraction} and model.image_resize_px "
                f"{resize_px}; a view is either a crop by area or cut out of the resized image, so "
                f"exactly one of them has to be null"
            )
        self._resize_px = resize_px
        self._images = images
        self._views = views
        self._side_px = side_px
        self.num_views = num_views
        self._seed = seed

    def load(self, step: int, rows: Rows) -> UInt8[np.ndarray, "views n side side 3"]:
        """Load the views of one step's pairs; the same step and rows give the same pixels."""
        shape = (self.num_views, len(rows), self._side_px, self._side_px, 3)
        pixels = np.empty(shape, dtype=np.uint8)
        # All at once: between pictures, which fill the caches, each would take three times as long.
        draws = [np.random.default_rng([self._seed, step, int(row)]) for row in rows]
        for place, (row, draw) in enumerate(zip(rows, draws, strict=True)):
            data = self._images.read(int(row))
            cut = training_views(
                data,
                self._views,
                num_views=self.num_views,
                side_px=self._side_px,
                draw=draw,
                resize_px=self._resize_px,
            )
            for view, square in enumerate(cut):
                pixels[view, place] = square
        return pixels


def load_evaluation_views(
    images: Iterable[bytes], *, side_px: int, resize_px: int | None = None
) -> UInt8[np.ndarray, "n side side 3"]:
    """Load the evaluation view of each compressed image."""
    return np.stack(
        [evaluation_view(data, side_px=side_px, resize_px=resize_px) for data in images]
    )


def load_ahead(
    load: Callable[[Item], Loaded], items: Iterable[Item], *, num_threads: int
) -> Iterator[Loaded]:
    """Apply `load` to items in threads and yield the results in order, a few items ahead."""
    remaining = iter(items)
    with ThreadPoolExecutor(num_threads) as threads:
        pending = deque(threads.submit(load, item) for item in islice(remaining, num_threads + 1))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(threads.submit(load, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
