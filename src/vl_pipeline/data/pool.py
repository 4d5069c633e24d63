"""The pool in memory: a table with one row per pair, and its images one seek away.

Inside a run a pair is its row number in this table (small, fast, an index into every array that
lies beside the pool); whatever leaves the run is keyed by `uid`.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from vl_pipeline.data.digest import digest_of_bytes, digest_of_strings
from vl_pipeline.data.pairs import IMAGE_SUFFIXES
from vl_pipeline.data.sources.folder import OpenFile, folder_at
from vl_pipeline.data.sources.plain import HEAD_BYTES, PLAIN_FORMS, PlainForms, needs_plain_form
from vl_pipeline.errors import PoolError, ShardError

Rows = Int64[np.ndarray, " n"]
"""Row numbers of the pool's table."""

_OPEN_SHARDS = 256
_STRINGS_AT_ONCE = 2**14
_PICTURE_ENDS = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)


def digest_of_pool(table: pa.Table) -> str:
    """The pool's identity: its uids in order. A uid covers the image's bytes and the caption."""
    return digest_of_strings(strings_of(table["uid"]))


def strings_of(column: pa.ChunkedArray) -> Iterator[str]:
    """Go through a column without ever holding all of it as Python's strings."""
    for start in range(0, len(column), _STRINGS_AT_ONCE):
        yield from column.slice(start, _STRINGS_AT_ONCE).to_pylist()


class PoolImages:
    """Compressed images of a pool, by row, read from the original files, or their plain forms.

    Each is held against its digest when it is read first, and again once its file's size, times or
    inode are others than they were then; one behind a URL at every read.
    """

    def __init__(
        self, table: pa.Table, folder: str | Path, *, plain_forms: Path = PLAIN_FORMS
    ) -> None:
        """Take the pool's table, and the folder or URL its `shard` column is relative to.

        Raises:
            ShardError: If nothing installed can read such a URL.
        """
        self._folder = folder_at(folder)
        self._plain_forms = PlainForms(plain_forms)
        self._shard_names = table["shard"].combine_chunks().dictionary_encode()
        self._shard_codes = self._shard_names.indices.to_numpy()
        self._offsets = table["image_offset"].to_numpy()
        self._num_bytes = table["image_bytes"].to_numpy()
        self._hashes = table["image_hash"]
        self._is_checked = np.zeros(len(self._offsets), dtype=bool)
        self._stamps: dict[int, str | None] = {}  # of files, when their images were checked
        self._open_shard = lru_cache(maxsize=_OPEN_SHARDS)(self._open)

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, row: int) -> bytes:
        """Read the compressed bytes of one image.

        Raises:
            ShardError: If the shard is gone or cannot be reached, or its bytes are not those that
                were indexed.
        """
        code = int(self._shard_codes[row])
        shard = self._shard_names.dictionary[code].as_py()
        offset = int(self._offsets[row])
        try:
            file = self._open_shard(shard)
            data, stamp = file.read(offset, int(self._num_bytes[row])), file.stamp()
        except OSError as error:
            raise ShardError(
                f"{self._folder.address(shard)}: cannot be opened ({error}); the pool's index "
                f"names it, restore it or run the pipeline from ingest again"
            ) from error
        if stamp != self._stamps.get(code):
            self._is_checked[self._shard_codes == code] = False
            self._stamps[code] = stamp
        if self._is_checked[row]:
            return data
        if digest_of_bytes(data) != self._hashes[row].as_py():
            raise ShardError(
                f"{self._folder.address(shard)}: the image at byte {offset} is not the one that "
                f"was indexed; the shard changed since ingest, run the pipeline from ingest again"
            )
        self._is_checked[row] = stamp is not None
        return data

    def _open(self, shard: str) -> OpenFile:
        file = self._folder.open(shard)
        is_picture = shard.lower().endswith(_PICTURE_ENDS)
        if is_picture or not needs_plain_form(file.read(0, HEAD_BYTES)):
            return file
        return self._plain_forms.open(self._folder, shard)


def rows_of_uids(table: pa.Table, uids: pa.ChunkedArray) -> Rows:
    """Find the pool's rows of `uids`, in their order.

    Raises:
        PoolError: If a uid is not in the pool.
    """
    import pyarrow.compute as pc

    rows = pc.index_in(uids, value_set=table["uid"].combine_chunks())
    if rows.null_count:
        missing = uids.filter(pc.is_null(rows))
        raise PoolError(
            f"{rows.null_count} uids are not in the pool, the first is {missing[0].as_py()}; the "
            f"manifest belongs to another pool, run the pipeline from curate again"
        )
    return rows.to_numpy().astype(np.int64)
