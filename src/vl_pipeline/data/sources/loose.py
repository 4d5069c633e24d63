"""Pictures that lie in a folder as files, with captions beside them or in a table."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vl_pipeline.data.ledger import Rejection
from vl_pipeline.data.pairs import PairLimits, UnusablePairError, read_pair
from vl_pipeline.data.sources.folder import SourceFolder
from vl_pipeline.data.sources.index import ShardIndex, index_of, rejection_of
from vl_pipeline.data.tar import Member

_DATA_JUICER_TOKEN = re.compile(rb"<(?:__dj__\w+|\|__dj__\w+\|)>")


@dataclass(frozen=True, kw_only=True)
class LoosePair:
    """A picture and where its caption is.

    Attributes:
        picture: Name of the picture's file, which becomes the pair's shard.
        key: Name of the pair in the pool and the ledger.
        beside: Files with its caption (`.txt`, `.json`).
        text: Its caption from a table.
        url: Where it came from, from a table.
    """

    picture: str
    key: str
    beside: tuple[str, ...] = ()
    text: bytes | None = None
    url: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Bunch:
    """Some pictures of a folder, and what can be said of others without looking at them."""

    pairs: tuple[LoosePair, ...]
    rejections: tuple[Rejection, ...] = ()


def index_bunch(folder: SourceFolder, bunch: Bunch, *, limits: PairLimits) -> ShardIndex:
    """Read each picture of a bunch, and its caption."""
    pairs: list[dict[str, object]] = []
    rejections = list(bunch.rejections)
    for pair in bunch.pairs:
        try:
            pairs.append(_read(folder, pair, limits))
        except UnusablePairError as found:
            rejections.append(rejection_of(found, shard=pair.picture, key=pair.key))
    num_listed = len(bunch.pairs) + len(bunch.rejections)
    return index_of(pairs, rejections, num_listed=num_listed)


def pair_of(
    picture: bytes,
    shard: str,
    key: str,
    *,
    text: bytes | None,
    url: bytes | None,
    limits: PairLimits,
    beside: dict[str, bytes] | None = None,
) -> dict[str, object]:
    """Make a row of the pool from a picture, which begins at offset 0, and its caption.

    Args:
        picture: The compressed picture.
        shard: The file it lies in.
        key: Its name there.
        text: Its caption, as `.txt` would hold it.
        url: Where it came from.
        limits: What reading it may cost.
        beside: Further files of the pair, by suffix.

    Raises:
        UnusablePairError: If picture or caption is missing or cannot be read.
    """
    parts = {"jpg": picture, **(beside or {})}
    if text is not None:
        parts["txt"] = _DATA_JUICER_TOKEN.sub(b"", text)
    if url is not None:
        parts["json"] = json.dumps({"url": url.decode(errors="surrogateescape")}).encode()
    members, offset = [], 0
    for suffix, part in parts.items():
        members.append(Member(suffix=suffix, offset=offset, num_bytes=len(part)))
        offset += len(part)
    return read_pair(b"".join(parts.values()), shard, key, members, limits)


def captions_in(value: Any, *, key: str) -> Iterator[tuple[str, bytes | None]]:
    """Give key and text of each pair that a table's cell makes; a list makes one per caption."""
    if not isinstance(value, list):
        yield key, text_of(value)
        return
    if not value:
        yield key, None
    for number, one in enumerate(value):
        yield f"{key}.{number}" if len(value) > 1 else key, text_of(one)


def _read(folder: SourceFolder, pair: LoosePair, limits: PairLimits) -> dict[str, object]:
    try:
        picture = folder.read(pair.picture)
        beside = {split_name(name)[1]: folder.read(name) for name in pair.beside}
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError)
        rule = "missing_image" if is_gone else "unreadable_image"
        raise UnusablePairError(rule, value=str(error), limit="a file that can be read") from error
    return pair_of(
        picture,
        pair.picture,
        pair.key,
        text=pair.text,
        url=pair.url,
        limits=limits,
        beside=beside,
    )


def split_name(name: str) -> tuple[str, str]:
    """Split `a/b.v2.jpg` into `a/b.v2` and `jpg`, and `a/b.txt.gz` into `a/b` and `txt.gz`."""
    path = PurePosixPath(name)
    if path.suffix.lower() == ".gz":
        stem = path.with_suffix("")
        return str(stem.with_suffix("")), f"{stem.suffix}.gz".lower().lstrip(".")
    return str(path.with_suffix("")), path.suffix.lower().lstrip(".")


def text_of(value: Any) -> bytes | None:
    """Give a cell's text in UTF-8, or in something near it that no text is; None if it is none."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value if isinstance(value, bytes) else None
