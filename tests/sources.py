"""Reading a pool of any shape in this process, and files to read it from."""

from pathlib import Path
from typing import Any

from tests.fakes import LIMITS
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards, ShardIndex, index_unit
from vl_pipeline.data.sources.columns import NamedColumns
from vl_pipeline.data.sources.folder import folder_at, list_files
from vl_pipeline.data.sources.index import join_indexes
from vl_pipeline.data.sources.plan import plan_units


def read_pool(
    folder: str | Path, scratch: Path, *, shards: str = "**", **columns: str
) -> ShardIndex:
    """Index a pool as `index_pool` does, without processes of its own."""
    pool = PoolShards(folder=str(folder), shards=shards, limits=LIMITS, num_workers=1, **columns)
    named = NamedColumns(image=pool.image_column, caption=pool.caption_column)
    units = plan_units(folder_at(folder), list_files(folder, shards), named)
    places: dict[str, Any] = {"scratch": scratch / "ingest", "plain_forms": scratch / "plain"}
    index = join_indexes(index_unit(unit, pool=pool, code="code", **places) for unit in units)
    assert index.num_listed == index.pairs.num_rows + index.ledger.num_rows
    return index


def images_of(index: ShardIndex, folder: str | Path, scratch: Path) -> list[bytes]:
    """Read the compressed images of an index, in its order."""
    images = PoolImages(index.pairs, folder, plain_forms=scratch / "plain")
    return [images.read(row) for row in range(len(images))]


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by their names below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
