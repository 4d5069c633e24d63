"""Encode many texts or images without training.

Texts are encoded in batches of similar length, padded only to the longest of their batch: web
captions are short, and a transformer's cost is in its positions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from vl_pipeline.data.loader import load_ahead, load_evaluation_views
from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.models.device import autocast_for
from vl_pipeline.models.dual_encoder import DualEncoder, unit

_TOKENS_AT_ONCE = 4096  # padding included; larger batches leave the cache of a CPU core
_TEXTS_AT_ONCE = 1024
_PADDING_AT_ONCE = 64  # tokens of padding a batch may have; about what starting a batch costs


class TextEncoder:
    """A text tower in evaluation mode, and where it runs."""

    def __init__(self, model: DualEncoder, device: torch.device) -> None:
        """Take the model as it is; it is not copied, so later training shows in later calls."""
        self._model = model
        self._device = device

    def features(
        self,
        tokens: Tokens,
        rows: Rows | None = None,
        *,
        progress: str | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> Float[np.ndarray, "n width"]:
        """Encode texts to unit-length features, before the projection (what CiT compares).

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
        """Encode texts to unit-length embeddings; arguments as for `features`."""
        return self._encode(tokens, rows, project=True, progress=progress, dtype=np.float32)

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
        was_training = self._model.training
        self._model.eval()
        encoded: np.ndarray | None = None
        bar = tqdm(
            total=len(rows), desc=progress, unit="caption", disable=None if progress else True
        )
        for places in batches_by_length(tokens.lengths[rows]):
            padded = torch.from_numpy(tokens.padded(rows[places])).to(self._device)
            with autocast_for(self._device):
                vectors = self._model.text_features(padded)
                if project:
                    vectors = self._model.text_tower.projection(vectors)
            vectors = unit(vectors).cpu().numpy()
            if encoded is None:
                encoded = np.empty((len(rows), vectors.shape[1]), dtype=dtype)
            encoded[places] = vectors
            bar.update(len(places))
        bar.close()
        self._model.train(was_training)
        return np.empty((0, 0), dtype=dtype) if encoded is None else encoded


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
        return load_evaluation_views(part, side_px=model.image_size_px)

    parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    encoded = [
        unit(model.image_tower.projection(model.image_features(torch.from_numpy(p).to(device))))
        for p in load_ahead(load, parts, num_threads=num_threads)
    ]
    return torch.cat(encoded).cpu().numpy()
