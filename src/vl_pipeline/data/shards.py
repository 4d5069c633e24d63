"""Shards as img2dataset writes them, read by byte offset and never copied.

A shard is a tar whose members belong together by the part of their name before the first dot:
`000000123.jpg`, `.txt` and `.json` are one pair. One pass reads a shard from start to end,
decodes each image once to know that it can be read, and notes where its bytes lie; from then on
any image of the pool is one seek away. What cannot be used goes to the ledger, pair by pair.
"""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from glob import glob
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import braceexpand
import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from tqdm import tqdm

from vl_pipeline.data.ledger import Rejection, ledger_of, require_balance
from vl_pipeline.data.pairs import PAIR_SCHEMA, PairLimits, UnusablePairError, read_pair
from vl_pipeline.data.paths import InputFolder
from vl_pipeline.data.tar import index_tar, mapped
from vl_pipeline.errors import ShardError

_FAILURES = ("failed_to_download", "failed_to_resize")  # what img2dataset writes


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PoolShards:
    """Where the raw pairs lie, and what reading them may cost.

    Attributes:
        folder: Holds the shards; relative to the project's root.
        shards: Glob (`*.tar`) or brace pattern (`{00000..00019}.tar`) below `folder`.
        limits: What reading one pair may cost.
        num_workers: Processes that read shards side by side.
    """

    folder: InputFolder
    shards: str
    limits: PairLimits
    num_workers: Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What one shard, or many, hold: the pairs that can be read, and a ledger of the rest."""

    pairs: pa.Table
    ledger: pa.Table
    num_listed: int


def list_shards(folder: Path, pattern: str) -> list[Path]:
    """List the shards a glob or brace pattern names, sorted, each once.

    Raises:
        ShardError: If the pattern names no shard, or a braced name does not exist.
    """
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ShardError(
            f"pool.shards is '{pattern}', which leaves pool.folder; name the folder there, and in "
            f"pool.shards only what lies below it"
        )
    found: set[Path] = set()
    for expanded in braceexpand.braceexpand(pattern):
        matches = glob(expanded, root_dir=folder)
        if not matches:
            raise ShardError(
                f"no shard matches '{expanded}' in {folder}; set pool.folder and pool.shards "
                f"(conf/base/parameters_pool.yml), or make the embedded pool with "
                f"`kedro run --pipelines fabricate`"
            )
        found.update(folder / match for match in matches)
    return sorted(found)


def index_pool(pool: PoolShards) -> ShardIndex:
    """Index every shard of a pool, shard by shard in worker processes, in the order of names.

    Raises:
        ShardError: If no shard is found, or a worker process dies.
        PoolError: If the pairs listed do not add up to pairs kept plus ledger.
    """
    folder = Path(pool.folder)
    paths = list_shards(folder, pool.shards)
    names = [str(path.relative_to(folder)) for path in paths]
    with ProcessPoolExecutor(
        max_workers=min(pool.num_workers, len(paths)), mp_context=get_context("spawn")
    ) as workers:
        results = workers.map(index_shard, paths, names, [pool.limits] * len(paths))
        bar = tqdm(results, total=len(paths), desc="ingest", unit="shard", disable=None)
        try:
            parts = list(bar)
        except BrokenProcessPool as error:
            raise ShardError(
                f"{folder}: a worker died while reading shard {bar.n + 1} or a later one of "
                f"{len(paths)}, most often for lack of memory; nothing was written, lower "
                f"pool.num_workers (now {pool.num_workers}) and start again"
            ) from error
    index = ShardIndex(
        pairs=pa.concat_tables(part.pairs for part in parts),
        ledger=pa.concat_tables(part.ledger for part in parts),
        num_listed=sum(part.num_listed for part in parts),
    )
    require_balance(
        "ingest", num_in=index.num_listed, num_kept=index.pairs.num_rows, ledger=index.ledger
    )
    return index


def index_shard(path: Path, name: str, limits: PairLimits) -> ShardIndex:
    """Read one shard from start to end: where each usable pair lies, and why the others are not.

    Pairs are listed in the order of the archive. Rows of img2dataset's side table
    (`<shard>.parquet`) that are not in the archive are listed too: failed downloads under their
    status, the rest as lost. Damage to the archive itself is one row without a key.

    Args:
        path: The tar file.
        name: How the shard is called in the pool and the ledger.
        limits: What reading one pair may cost.
    """
    tar = index_tar(path)
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
    absent = _listed_but_absent(path, present={*tar.samples, *tar.repeated_keys})
    for key, (rule, message) in absent.items():
        reject(key, rule, message, "success")
    if tar.damage:
        reject("", "broken_tar", tar.damage, "a whole tar")
    return ShardIndex(
        pairs=pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA),
        ledger=ledger_of("ingest", rejections),
        num_listed=len(tar.samples) + len(tar.repeated_keys) + len(absent) + bool(tar.damage),
    )


def _listed_but_absent(path: Path, *, present: set[str]) -> dict[str, tuple[str, str]]:
    """Key to (rule, message) of img2dataset's rows whose pair the archive does not hold."""
    table = path.with_suffix(".parquet")
    if not table.exists():
        return {}
    try:
        rows = pq.read_table(table, columns=["key", "status", "error_message"]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ShardError(
            f"{table}: not readable as img2dataset's side table ({error}); restore it, or remove "
            f"it to read the shard without"
        ) from error
    return {
        row["key"]: (_rule_of_status(row["status"]), f"{row['status']}: {row['error_message']}")
        for row in rows
        if row["key"] not in present
    }


def _rule_of_status(status: str | None) -> str:
    if status == "success":
        return "lost_from_shard"
    return status if status in _FAILURES else "failed_otherwise"
