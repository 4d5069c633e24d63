"""Where a training step gets its images from: fresh views, or features computed once.

A trunk that is trained must see pixels, a new view of each image at every step. A frozen trunk
gives the same features for the same pixels every time, so each image passes it once, in its
evaluation view, and is a row of an array from then on.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from vl_pipeline.data.atomic import atomic_file
from vl_pipeline.data.loader import ViewLoader, load_ahead, load_evaluation_views
from vl_pipeline.data.pool import PoolImages, Rows
from vl_pipeline.models.dual_encoder import DualEncoder

_STEPS_AHEAD = 16  # whose images a frozen trunk computes together

NumberedBatch = tuple[int, Rows]
"""A step's number and the pool rows it trains on."""


class ImageSource(Protocol):
    """Gives each step's image input, and turns it into embeddings."""

    def inputs(self, batches: Iterable[NumberedBatch]) -> Iterator[Tensor]:
        """Load each batch's input, one slice per view, ahead of its use."""
        ...

    def embed(self, inputs: Tensor) -> Float[Tensor, "views n d"]:
        """Turn one batch's input into embeddings, with gradient."""
        ...

    def num_forwards(self, times_seen: Int32[np.ndarray, " pairs"]) -> int:
        """Count the images that have to pass the trunk where pairs are seen so often."""
        ...


class FreshViews:
    """Random views of pool images, seen by a trunk that is trained."""

    def __init__(
        self, model: DualEncoder, loader: ViewLoader, *, device: torch.device, num_threads: int
    ) -> None:
        """Take the model that sees the views and the loader that draws them."""
        self._model = model
        self._loader = loader
        self._device = device
        self._num_threads = num_threads

    def inputs(self, batches: Iterable[NumberedBatch]) -> Iterator[Tensor]:
        """Load each batch's pixels [views, n, side, side, 3], 8 bit."""
        for pixels in load_ahead(self._load, batches, num_threads=self._num_threads):
            yield pixels.to(self._device, non_blocking=True)

    def embed(self, inputs: Tensor) -> Float[Tensor, "views n d"]:
        """Run trunk and projection, each view by itself."""
        tower = self._model.image_tower
        return torch.stack(
            [tower.projection(self._model.image_features(pixels)) for pixels in inputs]
        )

    def num_forwards(self, times_seen: Int32[np.ndarray, " pairs"]) -> int:
        """Each view of each sight passes; the second pass of a batch in parts is not counted."""
        return int(times_seen.sum()) * self._loader.num_views

    def _load(self, batch: NumberedBatch) -> Tensor:
        pixels = torch.from_numpy(self._loader.load(*batch))
        return pixels.pin_memory() if self._device.type == "cuda" else pixels


class FrozenFeatures:
    """Features of a frozen trunk, computed the first time an image is asked for.

    They are kept in a memory-mapped file, so a run that is started again has them. A trunk
    always sees full batches of one size: an image's features then do not depend on its company,
    down to the last bit. What several steps lack is computed together, in threads that decode
    ahead, so that few batches have to be filled up with copies.
    """

    def __init__(
        self,
        model: DualEncoder,
        images: PoolImages,
        *,
        folder: Path,
        device: torch.device,
        batch_size: int,
        num_threads: int,
    ) -> None:
        """Take the model with the frozen trunk, and a folder that belongs to that trunk."""
        self._model = model
        self._images = images
        self._device = device
        self._batch_size = batch_size
        self._num_threads = num_threads
        self._folder = folder
        self._features: np.ndarray | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._known = _map(folder / "known.npy", (len(images),), np.bool_)

    @property
    def num_computed(self) -> int:
        """Images that have passed the trunk."""
        return int(self._known.sum())

    def inputs(self, batches: Iterable[NumberedBatch]) -> Iterator[Tensor]:
        """Give each batch's features [1, n, width]."""
        for part, pixels, complete in load_ahead(
            self._load, self._plan(batches), num_threads=self._num_threads
        ):
            if pixels is not None:
                self._compute(part, pixels)
            for rows in complete:
                yield torch.from_numpy(self._stored()[rows]).to(self._device)[None]

    def embed(self, inputs: Tensor) -> Float[Tensor, "views n d"]:
        """Run the projection."""
        return self._model.image_tower.projection(inputs)

    def num_forwards(self, times_seen: Int32[np.ndarray, " pairs"]) -> int:
        """Each image passes once however often it is seen, in this run or one before it.

        Copies that fill up a batch pass too and are not counted: fewer than a batch for each
        `_STEPS_AHEAD` steps, or for each call of `inputs` with fewer.
        """
        return int((times_seen > 0).sum())

    def _plan(self, batches: Iterable[NumberedBatch]) -> Iterator[tuple[Rows, list[Rows]]]:
        """Cut what steps lack into parts, each with the steps that lack nothing once it is known.

        Looks `_STEPS_AHEAD` steps ahead at a time; a part may be empty.
        """
        planned = np.array(self._known)
        remaining = iter(batches)
        while steps := [rows for _, rows in islice(remaining, _STEPS_AHEAD)]:
            wanted = np.unique(np.concatenate(steps))
            missing = wanted[~planned[wanted]]
            planned[missing] = True
            cuts = range(self._batch_size, len(missing), self._batch_size)
            *parts, last = np.split(missing, cuts)
            yield from ((part, []) for part in parts)
            yield last, steps

    def _load(self, job: tuple[Rows, list[Rows]]) -> tuple[Rows, Tensor | None, list[Rows]]:
        part, complete = job
        if not len(part):
            return part, None, complete
        data = (self._images.read(int(row)) for row in part)
        side, resize = self._model.image_size_px, self._model.image_resize_px
        views = load_evaluation_views(data, side_px=side, resize_px=resize)
        filled_up = np.resize(np.arange(len(part)), self._batch_size)
        return part, torch.from_numpy(views[filled_up]), complete

    @torch.no_grad()
    def _compute(self, rows: Rows, pixels: Tensor) -> None:
        features = self._model.image_features(pixels.to(self._device)).float().cpu().numpy()
        self._stored(width=features.shape[1])[rows] = features[: len(rows)]
        self._known[rows] = True

    def _stored(self, width: int = 0) -> np.ndarray:
        """The array of features; the first call on a new folder has to give their width."""
        if self._features is None:
            shape = (len(self._images), width)
            self._features = _map(self._folder / "features.npy", shape, np.float32)
        return self._features


def _map(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Map an array. A new one gets its room at once: a disk that fills up later kills writers."""
    if not path.exists():
        with atomic_file(path) as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            del array
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
    return np.lib.format.open_memmap(path, mode="r+")
