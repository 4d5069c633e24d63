"""Encode many texts or images without training.

Texts are encoded in batches of similar length, padded only to the longest of their batch: web
captions are short, and a transformer's cost is in its positions. Equal texts are encoded once, and
on a CPU so are beginnings that texts of a batch share.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn
from tqdm import tqdm

from vl_pipeline.data.loader import load_ahead, load_evaluation_views
from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.models.device import autocast_for
from vl_pipeline.models.dual_encoder import DualEncoder, unit
from vl_pipeline.models.text_trunks import text_features

_TOKENS_AT_ONCE = 4096  # padding included; larger batches leave the cache of a CPU core
_TEXTS_AT_ONCE = 1024
_PADDING_AT_ONCE = 256  # tokens of padding a batch may have; about what starting a batch costs


class TextEncoder:
    """A text tower in evaluation mode, and where it runs."""

    def __init__(self, model: DualEncoder, device: torch.device) -> None:
        """Take the model as it is; it is not copied, so later training shows in later calls."""
        self._tower = model.text_tower
        self._device = device
        self._stream: torch.cuda.Stream | None = None  # the current one

    def features(
        self,
        tokens: Tokens,
        rows: Rows | None = None,
        *,
        progress: str | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> Float[np.ndarray, "n width"]:
        """Encode texts to unit-length features, before the projection (what CiT compares).

        Texts with equal token ids pass the tower once.

        Args:
            tokens: The texts.
            rows: Which of them, in which order; None for all.
            progress: Title of a progress bar; None for none.
            dtype: Of the result, to which float32 is rounded.
        """
        return self._encode(tokens, rows, project=False, progress=progress, dtype=dtype)

    def embeddings(
        self, tokens: Tokens, rows: Rows | None = None, *, progress: str | None = None
    ) -> Float32[np.ndarray, "n dim"]:
        """Encode texts to unit-length embeddings; as `features` does."""
        return self._encode(tokens, rows, project=True, progress=progress, dtype=np.float32)

    def trunk_weights(self) -> dict[str, np.ndarray]:
        """Copy all that `features` depends on, as it is now."""
        state = self._tower.trunk.state_dict()
        return {name: t.detach().to("cpu", copy=True).numpy() for name, t in state.items()}

    def with_trunk(self, weights: Mapping[str, np.ndarray]) -> "TextEncoder":
        """Give an encoder with a tower of its own whose trunk has these weights.

        It may run in another thread while this one's tower is trained; on a GPU it has a stream of
        its own.
        """
        other = copy.copy(self)
        other._tower = copy.deepcopy(self._tower)
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        other._tower.trunk.load_state_dict(tensors)
        if self._device.type == "cuda":
            other._stream = torch.cuda.Stream(self._device)
            other._stream.wait_stream(torch.cuda.current_stream(self._device))
        return other

    @torch.inference_mode()
    def _encode(
        self,
        tokens: Tokens,
        rows: Rows | None,
        *,
        project: bool,
        progress: str | None,
        dtype: type[np.floating],
    ) -> np.ndarray:
        rows = np.arange(len(tokens)) if rows is None else rows
        first = tokens.first_of_equal(rows)
        distinct = np.flatnonzero(first == np.arange(len(rows)))
        encoded: np.ndarray | None = None
        bar = tqdm(
            total=len(distinct), desc=progress, unit="caption", disable=None if progress else True
        )
        with _evaluation_mode(self._tower), torch.cuda.stream(self._stream):
            for part in batches_by_length(tokens.lengths_of(rows[distinct])):
                places = distinct[part]
                vectors = self._vectors(tokens.padded(rows[places]), project=project)
                if encoded is None:
                    encoded = np.empty((len(rows), vectors.shape[1]), dtype=dtype)
                encoded[places] = vectors
                bar.update(len(places))
        bar.close()
        if encoded is None:
            return np.empty((0, 0), dtype=dtype)
        return encoded if len(distinct) == len(rows) else encoded[first]

    def _vectors(self, padded: np.ndarray, *, project: bool) -> np.ndarray:
        with autocast_for(self._device):
            vectors = text_features(self._tower.trunk, torch.from_numpy(padded).to(self._device))
            if project:
                vectors = self._tower.projection(vectors)
        return unit(vectors).cpu().numpy()


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    was_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in was_training:
            part.training = True


def batches_by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Cut texts into batches of similar length, shortest first, with little padding in each.

    Returns:
        Places in `lengths`; each place once. Texts of one length keep their order.
    """
    order = np.argsort(lengths, kind="stable")
    batches: list[np.ndarray] = []
    start, num_tokens = 0, 0
    for stop, length in enumerate(lengths[order].tolist()):
        padded = (stop + 1 - start) * length
        is_full = stop - start == _TEXTS_AT_ONCE or padded > _TOKENS_AT_ONCE
        if stop > start and (is_full or padded - num_tokens - length > _PADDING_AT_ONCE):
            batches.append(order[start:stop])
            start, num_tokens = stop, 0
        num_tokens += length
    return [*batches, order[start:]] if len(order) else []


@torch.inference_mode()
def encode_images(
    model: DualEncoder,
    images: Sequence[bytes],
    *,
    device: torch.device,
    batch_size: int,
    num_threads: int,
) -> Float32[np.ndarray, "n dim"]:
    """Encode compressed images to unit-length embeddings, with the evaluation view.

    Leaves the model in evaluation mode.
    """
    model.eval()

    def load(part: Sequence[bytes]) -> np.ndarray:
        return load_evaluation_views(
            part, side_px=model.image_size_px, resize_px=model.image_resize_px
        )

    parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    encoded = [
        unit(model.image_tower.projection(model.image_features(torch.from_numpy(p).to(device))))
        for p in load_ahead(load, parts, num_threads=num_threads)
    ]
    return torch.cat(encoded).cpu().numpy()
