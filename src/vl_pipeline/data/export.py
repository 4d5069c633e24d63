"""A set of pairs as shards that other trainers read: original image bytes, original keys.

<folder>/00000.tar ...     <key>.jpg (or .png, .webp), <key>.txt, <key>.json; pool order.
                           Other formats are called .jpg too: readers look at the bytes, and
                           open_clip's trainer passes over names such as .gif and .bmp
<folder>/manifest.parquet  one row per pair: uid, where it is, where it came from, why it was kept
<folder>/uids.npy          DataComp's subset file: sorted uids as pairs of unsigned 64-bit integers
<folder>/sizes.json        pairs of each shard, which open_clip's trainer reads

A key that is unique in the pool stays as it is. One that several shards of the pool have, or that
is empty, is followed by `_` and the uid in each of its pairs. So the name of a pair does not
depend on which set it is exported with.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from annotated_types import Gt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from tqdm import tqdm

from vl_pipeline.data.archives import open_archive
from vl_pipeline.data.atomic import atomic_folder, write_json, write_table
from vl_pipeline.data.pool import PoolImages, Rows, rows_of_uids
from vl_pipeline.errors import CurationError, ParameterError

UID_TYPE = np.dtype("u8,u8")
"""DataComp's: first and last 16 hexadecimal digits of a uid (datacomp/resharder.py)."""

_FROM_POOL = ("shard", "key", "url", "caption", "width", "height")
_FROM_MANIFEST = ("score", "nearest_target", "round", "accepted_by")
_MAGIC = {b"\x89PNG": "png", b"RIFF": "webp"}


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Export:
    """Which set of pairs is written as shards, and where.

    Attributes:
        method: The method whose set it is.
        pairs: What its training saw, or what its curator kept before training.
        folder: The set goes to `<folder>/<method>_<pairs>`, in the place of what is there.
        pairs_per_shard: Pairs of each shard but the last.
    """

    method: str
    pairs: Literal["trained", "curated"]
    folder: str
    pairs_per_shard: Annotated[int, Gt(0)]

    @property
    def place(self) -> Path:
        """The folder of the set."""
        return Path(self.folder) / f"{self.method}_{self.pairs}"


def read_set(sets: Path, export: Export) -> pa.Table:
    """Read the manifest of the set, `<sets>/<method>/<pairs>_pairs.parquet`.

    Raises:
        ParameterError: If there is none.
    """
    path = sets / export.method / f"{export.pairs}_pairs.parquet"
    if not path.exists():
        there = sorted(str(p.relative_to(sets)) for p in sets.glob("*/*_pairs.parquet"))
        raise ParameterError(
            f"export.method is '{export.method}' and export.pairs '{export.pairs}', but {path} "
            f"does not exist; there are {', '.join(there) or 'no sets'}, make one with "
            f"`kedro run --pipelines {export.method}`"
        )
    return pq.read_table(path)


def export_pairs(
    chosen: pa.Table, *, pool: pa.Table, images: PoolImages, folder: Path, pairs_per_shard: int
) -> dict[str, Any]:
    """Write the pairs of a manifest as shards, whole or not at all; equal inputs, equal bytes.

    A pair that several rounds kept is written once, as the last of them saw it.

    Args:
        chosen: The manifest; its uids are in the pool.
        pool: The pool's table.
        images: The pool's images.
        folder: Where the shards go, in the place of what is there.
        pairs_per_shard: See `Export`.

    Returns:
        Counts for a report.

    Raises:
        CurationError: If the manifest is empty.
        PoolError: If it belongs to another pool.
        ShardError: If an image is no longer what was indexed.
    """
    if not chosen.num_rows:
        raise CurationError(f"nothing to export to {folder}: the manifest has no pairs")
    rows, manifest = _manifest_of(chosen, pool, pairs_per_shard)
    with (
        atomic_folder(folder) as temporary,
        tqdm(total=len(rows), desc="export", unit="pair", disable=None) as bar,
    ):
        for start in range(0, len(rows), pairs_per_shard):
            pairs = manifest.slice(start, pairs_per_shard).to_pylist()
            with open_archive(temporary / pairs[0]["exported_shard"]) as archive:
                for row, pair in zip(rows[start : start + pairs_per_shard], pairs, strict=True):
                    archive.write(_members(pair, images.read(int(row))))
                    bar.update()
        write_table(temporary / "manifest.parquet", manifest)
        np.save(temporary / "uids.npy", subset_of_uids(manifest["uid"].to_pylist()))
        sizes = Counter(manifest["exported_shard"].to_pylist())
        write_json(temporary / "sizes.json", sizes)
    kept = pc.equal(manifest["exported_key"], manifest["key"])
    return {
        "num_pairs": len(rows),
        "num_shards": len(sizes),
        "num_keys_changed": len(rows) - pc.sum(kept).as_py(),
    }


def subset_of_uids(uids: list[str]) -> np.ndarray:
    """Sort uids as DataComp's subset files have them; its resharder bisects the array."""
    halves = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids]
    return np.sort(np.array(halves, dtype=UID_TYPE))


def exported_keys(pool: pa.Table) -> list[str]:
    """Give each pair of a pool a key of its own; those that are unique already stay."""
    keys = [_without_dots(key) for key in pool["key"].to_pylist()]
    count = Counter(keys)
    return [
        key if count[key] == 1 and not key.endswith("/") and key else f"{key}_{uid}"
        for key, uid in zip(keys, pool["uid"].to_pylist(), strict=True)
    ]


def _without_dots(key: str) -> str:
    """WebDataset ends a key at the first dot of a file's name; a pool of other files may not."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.replace('.', '_')}"


def _manifest_of(chosen: pa.Table, pool: pa.Table, pairs_per_shard: int) -> tuple[Rows, pa.Table]:
    """Give the pool's rows of the pairs, ascending, and the exported set's manifest."""
    last = {uid: place for place, uid in enumerate(chosen["uid"].to_pylist())}
    chosen = chosen.take(list(last.values()))
    rows = rows_of_uids(pool, chosen["uid"])
    order = np.argsort(rows)
    rows, chosen = rows[order], chosen.take(order)
    pairs = pool.append_column("exported_key", pa.array(exported_keys(pool), pa.string()))
    shards = [f"{place // pairs_per_shard:05d}.tar" for place in range(len(rows))]
    columns = {"uid": chosen["uid"], "exported_shard": pa.array(shards, pa.string())}
    columns |= {name: pairs[name].take(rows) for name in ("exported_key", *_FROM_POOL)}
    return rows, pa.table(columns | {name: chosen[name] for name in _FROM_MANIFEST})


def _members(pair: dict[str, Any], image: bytes) -> dict[str, Any]:
    side = {name: value for name, value in pair.items() if not name.startswith("exported_")}
    return {
        "__key__": pair["exported_key"],
        _MAGIC.get(image[:4], "jpg"): image,
        "txt": pair["caption"].encode(),
        "json": json.dumps(side, indent=4).encode(),
    }
