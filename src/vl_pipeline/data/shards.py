"""The raw pairs of a pool, read by byte offset and never copied.

A shard is a tar whose members belong together by the part of their name before the first dot:
`000000123.jpg`, `.txt` and `.json` are one pair. One pass reads a shard from start to end,
decodes each image once to know that it can be read, and notes where its bytes lie; from then on
any image of the pool is one seek away. What cannot be used goes to the ledger, pair by pair.
Pictures in folders and in Parquet files are read to the same end (`sources`).
"""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from annotated_types import Ge
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from tqdm import tqdm

from vl_pipeline.data.digest import digest_of_code, digest_of_value
from vl_pipeline.data.ledger import Rejection, require_balance
from vl_pipeline.data.pairs import PairLimits, UnusablePairError, read_pair
from vl_pipeline.data.paths import InputFolder
from vl_pipeline.data.sources.columns import NamedColumns
from vl_pipeline.data.sources.folder import SourceFolder, folder_at, list_files
from vl_pipeline.data.sources.index import (
    ShardIndex,
    index_of,
    join_indexes,
    read_index,
    write_index,
)
from vl_pipeline.data.sources.loose import Bunch, index_bunch
from vl_pipeline.data.sources.pictured_tables import index_pictured_table
from vl_pipeline.data.sources.pictures import DamagedTableError, damage_named, holds_table
from vl_pipeline.data.sources.plain import (
    HEAD_BYTES,
    PLAIN_FORMS,
    PlainForms,
    decompress,
    needs_plain_form,
)
from vl_pipeline.data.sources.plan import Archive, Unit, name_before_tar, plan_units
from vl_pipeline.data.tar import index_tar, mapped
from vl_pipeline.data.workers import end_with_parent
from vl_pipeline.errors import ShardError

__all__ = ["PoolShards", "ShardIndex", "index_pool", "index_shard", "index_unit"]

_FAILURES = ("failed_to_download", "failed_to_resize")  # what img2dataset writes


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PoolShards:
    """Where the raw pairs lie, and what reading them may cost.

    Attributes:
        folder: Holds the files; relative to the project's root, absolute, or an fsspec URL.
        shards: Glob (`*.tar`; `**` for all files) or brace pattern (`{00000..00019}.tar`) below
            `folder`. What a file is, is told from the file.
        image_column: Of tables, the column with pictures or their names; None looks for a usual
            name.
        caption_column: Of tables, the column with captions; None looks for a usual name.
        limits: What reading one pair, or one file, may cost.
        num_workers: Processes that read files side by side.
    """

    folder: InputFolder
    shards: str
    image_column: str | None = None
    caption_column: str | None = None
    limits: PairLimits
    num_workers: Annotated[int, Ge(1)]


def index_pool(pool: PoolShards, *, scratch: Path, plain_forms: Path = PLAIN_FORMS) -> ShardIndex:
    """Index every file of a pool, unit by unit in worker processes, in the order of names.

    What a unit came to is kept in `scratch` until its files, the parameters or the code change, so
    an interrupted call goes on where it was.

    Args:
        pool: Where the raw pairs lie.
        scratch: Folder for finished units; all of it may be deleted at any time.
        plain_forms: Folder for plain forms of files whose pictures cannot be read in place.

    Raises:
        ShardError: If no file is found or a remote one cannot be read, or a worker process dies.
        PoolError: If the pairs listed do not add up to pairs kept plus ledger.
    """
    named = NamedColumns(image=pool.image_column, caption=pool.caption_column)
    names = list_files(pool.folder, pool.shards)
    units = plan_units(folder_at(pool.folder), names, named)
    work = partial(
        index_unit, pool=pool, scratch=scratch, plain_forms=plain_forms, code=digest_of_code()
    )
    with ProcessPoolExecutor(
        max_workers=max(1, min(pool.num_workers, len(units))),
        mp_context=get_context("spawn"),
        initializer=end_with_parent,
    ) as workers:
        bar = tqdm(
            workers.map(work, units), total=len(units), desc="ingest", unit="unit", disable=None
        )
        try:
            index = join_indexes(bar)
        except BrokenProcessPool as error:
            raise ShardError(
                f"{pool.folder}: a worker died while reading unit {bar.n + 1} or a later one of "
                f"{len(units)}, most often for lack of memory; lower pool.num_workers (now "
                f"{pool.num_workers}) and start again, finished units are kept"
            ) from error
    require_balance(
        "ingest", num_in=index.num_listed, num_kept=index.pairs.num_rows, ledger=index.ledger
    )
    return index


def index_unit(
    unit: Unit, *, pool: PoolShards, scratch: Path, plain_forms: Path, code: str
) -> ShardIndex:
    """Index one unit, or give what it came to before.

    Args:
        unit: An archive, or a bunch of pictures.
        pool: The pool it belongs to.
        scratch: See `index_pool`.
        plain_forms: See `index_pool`.
        code: Digest of the code that runs.
    """
    folder = folder_at(pool.folder)
    stamps = _stamps(folder, unit)
    settings = (asdict(pool.limits), pool.image_column, pool.caption_column)
    key = digest_of_value([asdict(unit), stamps, settings, code])
    place = scratch / key[:2] / f"{key}.arrow"
    if (finished := read_index(place)) is not None:
        return finished
    if isinstance(unit, Bunch):
        index = index_bunch(folder, unit, limits=pool.limits)
    else:
        index = _index_archive(folder, unit.name, stamps[0], pool, PlainForms(plain_forms))
    write_index(place, index)
    return index


def _stamps(folder: SourceFolder, unit: Unit) -> list[str]:
    """Stamps of a unit's files, in order; empty for one that is not there."""
    if isinstance(unit, Archive):
        names = [unit.name, f"{name_before_tar(unit.name)}.parquet"]
    else:
        names = [name for pair in unit.pairs for name in (pair.picture, *pair.beside)]
    return [_stamp(folder, name) for name in names]


def _stamp(folder: SourceFolder, name: str) -> str:
    try:
        return folder.stamp(name)
    except OSError:
        return ""  # whoever reads it will say why


def _index_archive(
    folder: SourceFolder, name: str, stamp: str, pool: PoolShards, forms: PlainForms
) -> ShardIndex:
    """Read a file that holds many pairs as what its first bytes say it is."""
    address = folder.address(name)
    if not stamp:
        raise ShardError(
            f"{address}: does not exist, or may not be read; correct pool.folder or pool.shards"
        )
    with ExitStack() as copies:
        path = copies.enter_context(folder.local_copy(name))
        head = _head_of(path)
        if not needs_plain_form(head):
            return _index_tar(path, name, pool.limits, side_table=_side(folder, name, copies))
        place = forms.place_of(path, address=address, stamp=stamp)
        if holds_table(head):
            named = NamedColumns(image=pool.image_column, caption=pool.caption_column)
            return index_pictured_table(path, name, place=place, named=named, limits=pool.limits)
        damage = decompress(path, place, max_bytes=pool.limits.max_plain_bytes)
        side_table = _side(folder, name, copies)
        return _index_tar(place, name, pool.limits, side_table=side_table, damage=damage)


def _head_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def _side(folder: SourceFolder, name: str, copies: ExitStack) -> Path | None:
    """Give img2dataset's table beside an archive, where there is one."""
    table = f"{name_before_tar(name)}.parquet"
    return copies.enter_context(folder.local_copy(table)) if folder.has(table) else None


def index_shard(path: Path, name: str, limits: PairLimits) -> ShardIndex:
    """Read one shard from start to end: where each usable pair lies, and why the others are not.

    Pairs are listed in the order of the archive. Rows of img2dataset's side table
    (`<shard>.parquet`) that are not in the archive are listed too: failed downloads under their
    status, the rest as lost. Damage to the archive itself, or to its side table, is one row without
    a key.

    Args:
        path: The tar file.
        name: How the shard is called in the pool and the ledger.
        limits: What reading one pair may cost.
    """
    table = path.with_suffix(".parquet")
    return _index_tar(path, name, limits, side_table=table if table.exists() else None)


def _index_tar(
    path: Path, name: str, limits: PairLimits, *, side_table: Path | None, damage: str | None = None
) -> ShardIndex:
    tar = index_tar(path)
    damage = damage or tar.damage
    pairs: list[dict[str, object]] = []
    rejections: list[Rejection] = []

    def reject(key: str, rule: str, value: str, limit: str) -> None:
        rejections.append(Rejection(shard=name, key=key, rule=rule, value=value, limit=limit))

    with mapped(path) as data:
        for key, members in tar.samples.items():
            try:
                pairs.append(read_pair(data, name, key, members, limits))
            except UnusablePairError as found:
                reject(key, found.rule, found.value, found.limit)
    for key in tar.repeated_keys:
        reject(key, "repeated_key", key, "unique in its shard")
    present = {*tar.samples, *tar.repeated_keys}
    absent: dict[str, tuple[str, str]] = {}
    is_table_broken = False
    try:
        absent = _listed_but_absent(side_table, present=present)
    except DamagedTableError as error:
        is_table_broken = True
        reject("", "broken_side_table", str(error)[:300], "img2dataset's side table, or none")
    for key, (rule, message) in absent.items():
        reject(key, rule, message, "success")
    if damage:
        reject("", "broken_tar", damage, "a whole tar")
    num_files = bool(damage) + is_table_broken
    num_listed = len(tar.samples) + len(tar.repeated_keys) + len(absent) + num_files
    return index_of(pairs, rejections, num_listed=num_listed)


def _listed_but_absent(table: Path | None, *, present: set[str]) -> dict[str, tuple[str, str]]:
    """Key to (rule, message) of img2dataset's rows whose pair the archive does not hold."""
    if table is None:
        return {}
    with damage_named():
        rows = pq.read_table(table, columns=["key", "status", "error_message"]).to_pylist()
    return {
        str(row["key"]): (
            _rule_of_status(row["status"]),
            f"{row['status']}: {row['error_message']}",
        )
        for row in rows
        if row["key"] not in present
    }


def _rule_of_status(status: str | None) -> str:
    if status == "success":
        return "lost_from_shard"
    return status if status in _FAILURES else "failed_otherwise"
