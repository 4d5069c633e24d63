"""The different images of a table of pairs: what is compared, each once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt8

from vl_pipeline.data.perceptual_hash import NUM_GRID_BYTES, NUM_HASH_BYTES
from vl_pipeline.data.pool import Rows


@dataclass(frozen=True)
class Pictures:
    """Images that differ in their bytes, numbered as they first come.

    Attributes:
        pairs: The pool's columns.
    """

    pairs: pa.Table

    def __len__(self) -> int:
        return len(self.image_hashes)

    @property
    def image_hashes(self) -> pa.Array:
        """Digests of their bytes."""
        return self._coded.dictionary

    @cached_property
    def of_row(self) -> Int64[np.ndarray, " pairs"]:
        """Number of each row's picture."""
        return self._coded.indices.to_numpy().astype(np.int64)

    @cached_property
    def first_row(self) -> Rows:
        """The row in which each picture first comes."""
        return np.unique(self.of_row, return_index=True)[1]

    @cached_property
    def hashes(self) -> UInt8[np.ndarray, "pictures 32"]:
        """Their perceptual hashes."""
        return _bytes_of(self.pairs["perceptual_hash"], NUM_HASH_BYTES)[self.first_row]

    @cached_property
    def grids(self) -> UInt8[np.ndarray, "pictures 48"]:
        """Their colour grids."""
        return _bytes_of(self.pairs["colour_grid"], NUM_GRID_BYTES)[self.first_row]

    def rows_with(self, chosen: Bool[np.ndarray, " pictures"]) -> Rows:
        """Give the rows whose picture is among the chosen."""
        return np.flatnonzero(chosen[self.of_row])

    def uids_of(self, numbers: Int64[np.ndarray, " n"]) -> list[str]:
        """Give the uids of the pairs in which pictures first come."""
        return self.pairs["uid"].take(self.first_row[numbers]).to_pylist()

    @cached_property
    def _coded(self) -> pa.DictionaryArray:
        return self.pairs["image_hash"].combine_chunks().dictionary_encode()


def _bytes_of(column: pa.ChunkedArray, width: int) -> UInt8[np.ndarray, "n width"]:
    """View a column of equally long byte strings as an array."""
    array = column.combine_chunks()
    if not len(array):
        return np.empty((0, width), dtype=np.uint8)
    flat = np.frombuffer(array.buffers()[1], dtype=np.uint8).reshape(-1, width)
    return flat[array.offset : array.offset + len(array)]
