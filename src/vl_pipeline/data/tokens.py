"""Captions tokenised once: a ragged array of token ids in two memory-mapped files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64
from tqdm import tqdm

from vl_pipeline.data.pool import Rows

Tokenizer = Callable[[Sequence[str]], Int64[np.ndarray, "n context"]]
"""Texts to token ids, padded with zeros after an end token that is not zero."""

_TEXTS_AT_ONCE = 1024
_COMPARED_AT_ONCE = 16_384
_HASH_BASE = 0x9E3779B97F4A7C15  # odd, so that no position is lost modulo 2^64


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

    def lengths_of(self, rows: Rows) -> Int64[np.ndarray, " n"]:
        """Tokens of some texts, without a look at the others."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def padded(self, rows: Rows) -> Int64[np.ndarray, "n longest"]:
        """Gather texts into one array, padded with zeros to the longest of them."""
        starts = self.offsets[rows]
        lengths = self.lengths_of(rows)
        places = np.arange(lengths.max(initial=1))
        within = places < lengths[:, None]
        gathered = np.zeros(within.shape, dtype=np.int64)
        gathered[within] = self.values[(starts[:, None] + places)[within]]
        return gathered

    def first_of_equal(self, rows: Rows) -> Int64[np.ndarray, " n"]:
        """Find, for each of `rows`, the first with the same token ids.

        Hashes propose and the ids themselves decide: a text whose hash is another's by chance
        stands for itself.

        Returns:
            Places in `rows`; a text without an equal before it has its own place.
        """
        _, first, group = np.unique(self._hashes(rows), return_index=True, return_inverse=True)
        first = first[group]
        repeated = np.flatnonzero(first != np.arange(len(rows)))
        for start in range(0, len(repeated), _COMPARED_AT_ONCE):
            places = repeated[start : start + _COMPARED_AT_ONCE]
            # no text ends in the padding's 0, so equal rows are equal texts
            both = self.padded(np.concatenate([rows[places], rows[first[places]]]))
            one, other = np.split(both, 2)
            differs = (one != other).any(axis=1)
            first[places[differs]] = places[differs]
        return first

    def _hashes(self, rows: Rows) -> UInt64[np.ndarray, " n"]:
        hashes = np.empty(len(rows), dtype=np.uint64)
        for start in range(0, len(rows), _COMPARED_AT_ONCE):
            block = slice(start, start + _COMPARED_AT_ONCE)
            ids = self.padded(rows[block]).astype(np.uint64)
            hashes[block] = ids @ _multipliers(ids.shape[1])  # modulo 2^64
        return hashes


def _multipliers(number: int) -> UInt64[np.ndarray, " number"]:
    return np.cumprod(np.full(number, _HASH_BASE, dtype=np.uint64))  # modulo 2^64


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
