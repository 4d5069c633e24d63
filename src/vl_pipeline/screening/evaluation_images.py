"""What the configured tasks ask, as the leak gate compares it: images, and captions to retrieve."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from vl_pipeline.data.digest import digest_of_bytes
from vl_pipeline.data.images import decode_rgb
from vl_pipeline.data.perceptual_hash import (
    NUM_GRID_BYTES,
    NUM_HASH_BYTES,
    colour_grid,
    perceptual_hash,
    shrink,
)
from vl_pipeline.data.tasks import ClassificationTask, RetrievalTask, Tasks, read_task
from vl_pipeline.errors import ShardError

SPLITS = ("test", "val")


@dataclass(frozen=True, kw_only=True)
class EvaluationImages:
    """Every image of every configured task, each split in its order.

    Attributes:
        names: `task/split/number`.
        image_hashes: Digests of the compressed bytes.
        hashes: Their perceptual hashes.
        grids: Their colour grids.
        captions: Captions of retrieval tasks, and of which image.
    """

    names: list[str]
    image_hashes: list[str]
    hashes: UInt8[np.ndarray, "n 32"]
    grids: UInt8[np.ndarray, "n 48"]
    captions: list[tuple[str, str]]

    @classmethod
    def none(cls) -> "EvaluationImages":
        """No images at all."""
        return cls(
            names=[],
            image_hashes=[],
            hashes=_rows([], NUM_HASH_BYTES),
            grids=_rows([], NUM_GRID_BYTES),
            captions=[],
        )


class TaskImages:
    """Compressed images of the configured tasks, read from disk when they are asked for."""

    def __init__(self, tasks: Tasks) -> None:
        """Take the tasks; a folder of class names without images has none."""
        self._folder = Path(tasks.folder)
        self._names = tuple(dict.fromkeys([*tasks.curate_for, *tasks.evaluate_on]))
        self._evaluated = set(tasks.evaluate_on)
        self._read = lru_cache(maxsize=1)(self._read_split)

    def splits(self) -> list[tuple[str, str]]:
        """List task and split of all that is there.

        Raises:
            ShardError: If a task that is evaluated has no images.
        """
        every = ((task, split) for task in self._names for split in SPLITS)
        there = [(task, split) for task, split in every if (self._folder / task / split).is_dir()]
        for task in sorted(self._evaluated - {task for task, _ in there}):
            raise ShardError(
                f"{self._folder / task} has no folder {' or '.join(SPLITS)}, so its images cannot "
                f"be kept out of the pool; restore it, or take it out of tasks.evaluate_on "
                f"(conf/base/parameters_tasks.yml)"
            )
        return there

    def has(self, name: str) -> bool:
        """Say whether a name is one of theirs, and no pair's and no entry of a block list."""
        return any(name.startswith(f"{task}/{split}/") for task, split in self.splits())

    def image(self, name: str) -> bytes:
        """Give the image of a name."""
        task, split, number = name.rsplit("/", 2)
        return self._read(task, split).images[int(number)]

    def caption(self, name: str) -> str | None:
        """Give the first caption of a name's image, or None where the task has labels."""
        task, split, number = name.rsplit("/", 2)
        read = self._read(task, split)
        return read.captions[int(number)][0] if isinstance(read, RetrievalTask) else None

    def describe(self) -> EvaluationImages:
        """Hash every image; one split is in memory at a time.

        Raises:
            ShardError: If a task cannot be read, or an image of it.
        """
        names: list[str] = []
        captions: list[tuple[str, str]] = []
        digests: list[str] = []
        looks: list[tuple[bytes, bytes]] = []
        for task, split in tqdm(self.splits(), desc="tasks", unit="split", disable=None):
            read = self._read(task, split)
            here = [f"{task}/{split}/{number}" for number in range(len(read.images))]
            names += here
            digests += [digest_of_bytes(image) for image in read.images]
            looks += [
                _look(image, f"{self._folder}: image {name}")
                for image, name in zip(read.images, here, strict=True)
            ]
            if isinstance(read, RetrievalTask):
                captions += [
                    (caption, name)
                    for name, several in zip(here, read.captions, strict=True)
                    for caption in several
                ]
        return EvaluationImages(
            names=names,
            image_hashes=digests,
            hashes=_rows([hash_ for hash_, _ in looks], NUM_HASH_BYTES),
            grids=_rows([grid for _, grid in looks], NUM_GRID_BYTES),
            captions=captions,
        )

    def _read_split(self, task: str, split: str) -> ClassificationTask | RetrievalTask:
        return read_task(self._folder / task, split=split)


def _look(image: bytes, place: str) -> tuple[bytes, bytes]:
    try:
        shrunk = shrink(decode_rgb(image))
    except ShardError as error:
        raise ShardError(
            f"{place}: {error}; evaluation needs the whole task, restore it"
        ) from error
    return perceptual_hash(shrunk), colour_grid(shrunk)


def _rows(values: list[bytes], width: int) -> UInt8[np.ndarray, "n width"]:
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, width)
