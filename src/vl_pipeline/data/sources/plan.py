"""From the files below a folder to units of work, by what the files are.

A tar, a gzip file, a Parquet or Arrow file with pictures in it is a unit of its own. Pictures that
lie in the folder go in bunches, with the captions beside them or those that a table has for them.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from vl_pipeline.data.ledger import Rejection
from vl_pipeline.data.pairs import IMAGE_SUFFIXES
from vl_pipeline.data.sources.columns import NamedColumns
from vl_pipeline.data.sources.folder import LocalFolder, SourceFolder
from vl_pipeline.data.sources.index import escaped
from vl_pipeline.data.sources.loose import Bunch, LoosePair, split_name
from vl_pipeline.data.sources.naming_tables import read_naming_table
from vl_pipeline.data.sources.pictured_tables import damaged_table
from vl_pipeline.data.sources.pictures import DamagedTableError, picture_columns, read_schema_at_end

_ARCHIVE_ENDS = (".tar", ".tar.gz", ".tgz")
_TABLE_SUFFIXES = ("csv", "tsv", "jsonl")
_CAPTION_SUFFIXES = ("txt", "json", "txt.gz")
_BOOKKEEPING = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_BUNCH_PAIRS = 1000


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file that holds many pairs."""

    name: str


Unit = Archive | Bunch


def plan_units(folder: SourceFolder, names: list[str], named: NamedColumns) -> list[Unit]:
    """Divide files into units of work.

    Args:
        folder: Holds the files.
        names: Of the files, sorted.
        named: Columns the user named.

    Raises:
        ShardError: If a table lacks the columns that name pictures and captions.
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    unnamed = [name for name in names if escaped(name) != name]
    names = [name for name in names if escaped(name) == name]
    shards = {name_before_tar(name) for name in names if name.endswith(_ARCHIVE_ENDS)}
    for name in names:
        by_kind[_kind(folder, name, shards)].append(name)
    find = _Finder(folder, by_kind["picture"])
    tabled = [_tabled(folder, name, named, find) for name in by_kind["table"]]
    described = {pair.picture for bunch in tabled for pair in bunch.pairs}
    has_loose_pairs = by_kind["picture"] or not (by_kind["archive"] or by_kind["table"])
    captions = by_kind["caption"] if has_loose_pairs else []  # else a README or the like
    beside = _beside([name for name in by_kind["picture"] if name not in described], captions)
    units: list[Unit] = [Archive(name=name) for name in by_kind["archive"]]
    for bunch in (*tabled, beside, _without_name(unnamed)):
        units += _cut(bunch)
    return units


def name_before_tar(name: str) -> str:
    """Give `a/00000` for `a/00000.tar`, `a/00000.tar.gz` and `a/00000.tgz`."""
    end = next((end for end in _ARCHIVE_ENDS if name.endswith(end)), "")
    return name.removesuffix(end)


def _kind(folder: SourceFolder, name: str, shards: set[str]) -> str:
    stem, suffix = split_name(name)
    if stem.removesuffix("_stats") in shards and suffix in ("json", "parquet"):
        return "img2dataset's own"  # read with its tar, or not at all
    if suffix in IMAGE_SUFFIXES:
        return "picture"
    if suffix in _CAPTION_SUFFIXES:
        return "bookkeeping" if posixpath.basename(name) in _BOOKKEEPING else "caption"
    if suffix in _TABLE_SUFFIXES or (suffix == "parquet" and _names_pictures(folder, name)):
        return "table"
    return "archive"


def _names_pictures(folder: SourceFolder, name: str) -> bool:
    """Say whether a Parquet file has no pictures in it, from its end alone."""
    try:
        return not picture_columns(read_schema_at_end(partial(folder.read_end, name)))
    except (DamagedTableError, OSError):
        return False  # whoever reads it will say so


def _tabled(folder: SourceFolder, name: str, named: NamedColumns, find: "_Finder") -> Bunch:
    try:
        return read_naming_table(folder, name, named, find)
    except DamagedTableError as error:
        return Bunch(pairs=(), rejections=(damaged_table(name, error),))


def _beside(pictures: Iterable[str], captions: Iterable[str]) -> Bunch:
    """Pair pictures with the captions of the same stem; several pictures may share one."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in captions:
        by_stem[split_name(name)[0]].append(name)
    pairs = [
        LoosePair(picture=name, key=split_name(name)[0], beside=tuple(by_stem[split_name(name)[0]]))
        for name in pictures
    ]
    used = {caption for pair in pairs for caption in pair.beside}
    rejections = [
        Rejection(
            shard=caption,
            key=stem,
            rule="missing_image",
            value=split_name(caption)[1],
            limit=f"one of {','.join(IMAGE_SUFFIXES)}",
        )
        for stem, files in by_stem.items()
        for caption in files[:1]
        if caption not in used
    ]
    return Bunch(pairs=tuple(pairs), rejections=tuple(rejections))


def _without_name(names: Iterable[str]) -> Bunch:
    return Bunch(
        pairs=(),
        rejections=tuple(
            Rejection(shard=name, key="", rule="undecodable_name", value=name, limit="UTF-8")
            for name in names
        ),
    )


def _cut(bunch: Bunch) -> list[Bunch]:
    starts = range(0, len(bunch.pairs), _BUNCH_PAIRS)
    parts = [Bunch(pairs=bunch.pairs[start : start + _BUNCH_PAIRS]) for start in starts]
    return [*parts, Bunch(pairs=(), rejections=bunch.rejections)] if bunch.rejections else parts


class _Finder:
    """Finds the file that a table's row means: beside the table, below the folder, or anywhere."""

    def __init__(self, folder: SourceFolder, pictures: list[str]) -> None:
        self._folder = folder
        self._listed = set(pictures)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        for name in pictures:
            self._by_base[posixpath.basename(name)].append(name)

    def __call__(self, table: str, said: str) -> str | None:
        said = said.strip().replace("\\", "/")
        for parent in (posixpath.dirname(table), ""):
            name = posixpath.normpath(posixpath.join(parent, said))
            if not name.startswith(("/", "..")) and self._is_there(name):
                return name
        end = f"/{posixpath.normpath(said).lstrip('./')}"
        found = [name for name in self._by_base[posixpath.basename(said)] if name.endswith(end)]
        return found[0] if len(found) == 1 else None

    def _is_there(self, name: str) -> bool:
        if name in self._listed or not isinstance(self._folder, LocalFolder):
            return True  # behind a URL, reading it will tell
        return self._folder.has(name)
