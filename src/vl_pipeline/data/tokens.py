"""Captions tokenised once: a ragged array of token ids in two memory-mapped files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64
from tqdm import tqdm

from vl_pipeline.data.pool import Rows

Tokenizer = Callable[[Sequence[str]], Int64[np.ndarray, "n context"]]
"""Texts to token ids, padded with zeros after an end token that is not zero."""

_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts; text i is values[offsets[i] : offsets[i + 1]]."""

    values: np.ndarray
    offsets: Int64[np.ndarray, " n+1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Tokens of each text, start and end tokens included."""
        return np.diff(self.offsets)

    def padded(self, rows: Rows) -> Int64[np.ndarray, "n longest"]:
        """Gather texts into one array, padded with zeros to the longest of them."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        places = np.arange(lengths.max(initial=1))
        within = places < lengths[:, None]
        gathered = np.zeros(within.shape, dtype=np.int64)
        gathered[within] = self.values[(starts[:, None] + places)[within]]
        return gathered


def tokenize(texts: Sequence[str] | pa.ChunkedArray, tokenizer: Tokenizer) -> Tokens:
    """Tokenise texts, in order; equal ids to the tokenizer's own, without its padding.

    Of a column, few texts at a time become Python's.
    """
    pieces: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    progress = tqdm(total=len(texts), desc="tokenise", unit="caption", disable=None)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        padded = tokenizer(_part(texts, start))
        lengths = padded.shape[1] - np.argmax(padded[:, ::-1] != 0, axis=1)
        pieces.append(_narrowed(padded[np.arange(padded.shape[1]) < lengths[:, None]]))
        counts.append(lengths)
        progress.update(len(padded))
    progress.close()
    offsets = np.cumsum(np.concatenate([[0], *counts])).astype(np.int64)
    return Tokens(np.concatenate([np.zeros(0, dtype=np.uint16), *pieces]), offsets)


def _part(texts: Sequence[str] | pa.ChunkedArray, start: int) -> Sequence[str]:
    if isinstance(texts, Sequence):
        return texts[start : start + _TEXTS_AT_ONCE]
    return texts.slice(start, _TEXTS_AT_ONCE).to_pylist()


def _narrowed(ids: np.ndarray) -> np.ndarray:
    fits = ids.max(initial=0) <= np.iinfo(np.uint16).max
    return ids.astype(np.uint16 if fits else np.uint32)


def fill_tokens(folder: Path, tokens: Tokens) -> None:
    """Fill a folder with `values.npy` and `offsets.npy`."""
    np.save(folder / "values.npy", tokens.values)
    np.save(folder / "offsets.npy", tokens.offsets)


def read_tokens(folder: Path) -> Tokens:
    """Map tokens that `fill_tokens` wrote; nothing is read before it is asked for."""
    return Tokens(
        np.load(folder / "values.npy", mmap_mode="r"),
        np.load(folder / "offsets.npy", mmap_mode="r"),
    )
