"""Embeddings of pictures under one encoder, computed once, and the nearest among them.

Similarities are made block by block: a pool's are too many to hold.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from jaxtyping import Float32
from tqdm import tqdm

from vl_pipeline.data.chunks import made_in_chunks
from vl_pipeline.data.digest import digest_of_strings
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.embedding.encode import encode_images
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.screening.evaluation_images import EvaluationImages, TaskImages
from vl_pipeline.screening.hash_lookup import Pairs
from vl_pipeline.screening.parameters import ImageEncoder
from vl_pipeline.screening.pictures import Pictures

ImageEmbeddings = Float32[np.ndarray, "n dim"]
_ROWS_AT_ONCE = 4096  # of a block of similarities


class PoolEncoder:
    """Embeds the pictures of a pool, when they are first asked for, and those of tasks."""

    def __init__(
        self, pictures: Pictures, encoder: ImageEncoder, *, folder: str | Path, cache: Path
    ) -> None:
        """Take all pictures that may be asked for, and the folder that their shards are below."""
        self._pictures = pictures
        self._images = PoolImages(pictures.pairs, folder)
        self._encoder = _CachedEncoder(encoder, cache=cache)

    def embeddings_of(self, pictures: Pictures) -> ImageEmbeddings:
        """Give the embeddings of some of the pictures."""
        places = pc.index_in(pictures.image_hashes, value_set=self._pictures.image_hashes)
        return self._embeddings[places.to_numpy()]

    def embed_evaluation(self, evaluation: EvaluationImages, tasks: TaskImages) -> ImageEmbeddings:
        """Embed the images of all tasks, in their order."""
        names = evaluation.names
        return self._encoder.embed(evaluation.image_hashes, lambda n: tasks.image(names[n]))

    @cached_property
    def _embeddings(self) -> ImageEmbeddings:
        hashes, rows = self._pictures.image_hashes.to_pylist(), self._pictures.first_row
        return self._encoder.embed(hashes, lambda n: self._images.read(int(rows[n])))


class _CachedEncoder:
    """Keeps what it embedded in files named by what they were made from."""

    def __init__(self, encoder: ImageEncoder, *, cache: Path) -> None:
        # No temperature plays a part in an embedding.
        config = DualEncoderConfig(
            name=encoder.name, pretrained=encoder.pretrained, temperature=1.0, min_temperature=1.0
        )
        self._device = choose_device()
        self._model = DualEncoder(config, seed=0).to(self._device)
        self._encoder = encoder
        self._folder = cache / digest_of_strings(
            [digest_of_weights(self._model), encoder.name, self._device.type]
        )

    def embed(self, image_hashes: list[str], read: Callable[[int], bytes]) -> ImageEmbeddings:
        """Embed images at unit length; `read` gives those that the cache does not have."""

        def make(rows: range) -> np.ndarray:
            embeddings = encode_images(
                self._model,
                [read(row) for row in rows],
                device=self._device,
                batch_size=self._encoder.batch_size,
                num_threads=self._encoder.num_threads,
            )
            return embeddings.astype(np.float16)

        parts = made_in_chunks(image_hashes, make, folder=self._folder, desc="embed images")
        embeddings = [part.astype(np.float32) for part in parts]
        if not embeddings:
            return np.empty((0, 1), dtype=np.float32)
        kept = np.concatenate(embeddings)
        return kept / np.linalg.norm(kept, axis=1, keepdims=True).clip(min=1e-12)


def nearest(embeddings: ImageEmbeddings, others: ImageEmbeddings) -> tuple[np.ndarray, np.ndarray]:
    """Find for each embedding the most similar other, and how similar it is."""
    number = np.zeros(len(embeddings), dtype=np.int64)
    similarity = np.full(len(embeddings), -1.0)
    if not len(others):
        return number, similarity
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        for first in range(0, len(others), _ROWS_AT_ONCE):
            block = embeddings[rows] @ others[first : first + _ROWS_AT_ONCE].T
            best = block.argmax(axis=1)
            value = block[np.arange(len(block)), best]
            nearer = value > similarity[rows]
            number[rows] = np.where(nearer, first + best, number[rows])
            similarity[rows] = np.where(nearer, value, similarity[rows])
    return number, similarity


def similar_pairs(embeddings: ImageEmbeddings, *, min_similarity: float) -> Iterator[Pairs]:
    """Give places of similar embeddings, each pair once, in blocks."""
    device = choose_device()
    starts = range(0, len(embeddings), _ROWS_AT_ONCE)
    for start in tqdm(starts, desc="similar images", unit="block", disable=None):
        rows = torch.from_numpy(embeddings[start : start + _ROWS_AT_ONCE]).to(device)
        for first in range(start, len(embeddings), _ROWS_AT_ONCE):
            others = torch.from_numpy(embeddings[first : first + _ROWS_AT_ONCE]).to(device)
            one, other = torch.nonzero(rows @ others.T >= min_similarity, as_tuple=True)
            one, other = one.cpu().numpy() + start, other.cpu().numpy() + first
            once = one < other
            yield one[once], other[once]
