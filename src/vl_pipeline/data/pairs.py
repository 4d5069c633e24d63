"""One pair: what an archive must hold under one key for it to be of use, and what is noted of it.

Image and caption must both be there and be readable. What is wrong with a pair that cannot be used
is said by an error that becomes its row of the ledger. An archive may be hostile: what a pair may
cost is limited, and sizes are looked at before bytes are read.
"""

import json
import mmap
import re
import unicodedata
import zlib
from typing import Annotated

import pyarrow as pa
from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.digest import digests_of_beginnings
from vl_pipeline.data.images import MAX_PIXELS, OversizedImageError, decode_rgb
from vl_pipeline.data.perceptual_hash import (
    NUM_GRID_BYTES,
    NUM_HASH_BYTES,
    colour_grid,
    perceptual_hash,
    shrink,
)
from vl_pipeline.data.tar import Member
from vl_pipeline.errors import ShardError

MAX_PLAIN_BYTES = 2**37
"""What a plain form never exceeds, also where it is made again for who reads a picture."""

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif")
# `0001.seg.png` is another picture of the pair; `0001.image.png` is the pair's own.
_OWN_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, *(f"image.{suffix}" for suffix in IMAGE_SUFFIXES))
_TEXT_SUFFIXES = ("txt", "txt.gz", "caption.txt", "text.txt")

PAIR_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),  # of image bytes and caption: the pair's identity everywhere
        ("shard", pa.string()),  # path below the pool's folder
        ("key", pa.string()),
        ("image_offset", pa.int64()),  # of the compressed image within the shard, in bytes
        ("image_bytes", pa.int64()),
        ("image_hash", pa.string()),
        ("perceptual_hash", pa.binary(NUM_HASH_BYTES)),
        ("colour_grid", pa.binary(NUM_GRID_BYTES)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),
        ("url", pa.string()),  # null where the shard does not say
    ]
)

_SHOWN_CHARACTERS = 200  # of what was found; a name may have a million

# Those below U+0020 but for white space, and DEL. U+0080 to U+009F stay: they are the traces of
# Windows-1252 text that was once decoded as Latin-1, as "It\x92s a cat".
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_CHARACTERS_OF_NAMES = re.compile(r"[\x00-\x1f\x7f]")
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Zl", "Zp", "Zs")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0") | {
    chr(c)
    for c in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))  # variation selectors
}


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PairLimits:
    """What reading one pair, or one file, may cost; what is on a limit is read.

    Attributes:
        max_pixels: Most pixels of an image, looked at before it is decoded.
        max_image_bytes: Most bytes of a compressed image.
        max_json_bytes: Most bytes of a .json.
        max_caption_bytes: Most bytes of a caption, in UTF-8.
        max_plain_bytes: Most bytes of a file's plain form, which lies on disk: what a gzip tar
            expands to, or the pictures of a Parquet or Arrow file.
    """

    max_pixels: Annotated[int, Gt(0), Le(MAX_PIXELS)]
    max_image_bytes: Annotated[int, Ge(1)]
    max_json_bytes: Annotated[int, Ge(1)]
    max_caption_bytes: Annotated[int, Ge(1)]
    max_plain_bytes: Annotated[int, Ge(1), Le(MAX_PLAIN_BYTES)]


class UnusablePairError(Exception):
    """Why a pair cannot be used; becomes a row of the ledger."""

    def __init__(self, rule: str, *, value: str, limit: str) -> None:
        super().__init__(rule)
        self.rule, self.value, self.limit = rule, value[:_SHOWN_CHARACTERS], limit


def read_pair(
    data: mmap.mmap | bytes, shard: str, key: str, members: list[Member], limits: PairLimits
) -> dict[str, object]:
    """Read one pair of an archive: a row of `PAIR_SCHEMA`, and `is_json_broken`.

    A JSON that cannot be used costs the pair only where the caption would have come from it.

    Args:
        data: The archive.
        shard: How the archive is called in the pool.
        key: The pair's key in the archive.
        members: The files under this key.
        limits: What it may cost.

    Raises:
        UnusablePairError: If image or caption is missing, cannot be read, or is over a limit.
    """
    _require_safe(key)
    by_suffix = {member.suffix: member for member in members}
    image = next((by_suffix[s] for s in _OWN_IMAGE_SUFFIXES if s in by_suffix), None)
    if image is None:
        raise UnusablePairError(
            "missing_image", value=",".join(by_suffix), limit=f"one of {','.join(IMAGE_SUFFIXES)}"
        )
    text = next((by_suffix[s] for s in _TEXT_SUFFIXES if s in by_suffix), None)
    for member in (image, text):
        _require_file(member)
    is_json_broken, side = False, {}
    try:
        side = _read_side_json(data, by_suffix.get("json"), limits)
    except UnusablePairError:
        if text is None:
            raise
        is_json_broken = True
    caption = _read_caption(data, text, side, limits)
    image_bytes = _read(data, image, rule="image_too_many_bytes", max_bytes=limits.max_image_bytes)
    try:
        pixels = decode_rgb(image_bytes, max_pixels=limits.max_pixels)
    except OversizedImageError as error:
        raise UnusablePairError(
            "image_too_many_pixels", value=str(error), limit=f"<= {limits.max_pixels} pixels"
        ) from error
    except ShardError as error:
        raise UnusablePairError(
            "unreadable_image", value=str(error), limit="a whole image"
        ) from error
    url = side.get("url")
    shrunk = shrink(pixels)
    image_hash, uid = digests_of_beginnings((image_bytes, caption.encode()))
    return {
        "uid": uid,
        "shard": shard,
        "key": key,
        "image_offset": image.offset,
        "image_bytes": image.num_bytes,
        "image_hash": image_hash,
        "perceptual_hash": perceptual_hash(shrunk),
        "colour_grid": colour_grid(shrunk),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "caption": caption,
        "url": url if isinstance(url, str) and not _has_surrogates(url) else None,
        "is_json_broken": is_json_broken,
    }


def _require_safe(key: str) -> None:
    """Refuse a name that would do harm to who unpacks the archive or prints the ledger."""
    leaves_folder = key.startswith("/") or ".." in key.split("/")
    if leaves_folder or _CONTROL_CHARACTERS_OF_NAMES.search(key):
        limit = "a relative path without '..' and control characters"
        raise UnusablePairError("unsafe_name", value=ascii(key), limit=limit)


def _require_file(member: Member | None) -> None:
    if member is not None and member.kind != "file":
        raise UnusablePairError(
            "not_a_file", value=f".{member.suffix}: {member.kind}", limit="a regular file"
        )


def _read(data: mmap.mmap | bytes, member: Member, *, rule: str, max_bytes: int) -> bytes:
    if member.num_bytes > max_bytes:
        raise UnusablePairError(
            rule, value=f"{member.num_bytes} bytes", limit=f"<= {max_bytes} bytes"
        )
    return data[member.offset : member.offset + member.num_bytes]


def _read_side_json(
    data: mmap.mmap | bytes, member: Member | None, limits: PairLimits
) -> dict[str, object]:
    if member is None:
        return {}
    _require_file(member)
    text = _read(data, member, rule="json_too_many_bytes", max_bytes=limits.max_json_bytes)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusablePairError(
            "unreadable_json", value=f"{type(error).__name__}: {error}", limit="JSON"
        ) from error
    return value if isinstance(value, dict) else {}


def _read_caption(
    data: mmap.mmap | bytes, text: Member | None, side: dict[str, object], limits: PairLimits
) -> str:
    limit = limits.max_caption_bytes
    if text is not None:
        encoded = _read(data, text, rule="caption_too_many_bytes", max_bytes=limit)
        if text.suffix.endswith(".gz"):
            encoded = _decompressed(encoded, limit)
    elif isinstance(found := side.get("caption") or side.get("text"), str):
        encoded = found.encode(errors="surrogatepass")
        if len(encoded) > limit:
            raise UnusablePairError(
                "caption_too_many_bytes", value=f"{len(encoded)} bytes", limit=f"<= {limit} bytes"
            )
    else:
        raise UnusablePairError(
            "missing_caption", value="no .txt, no caption or text in .json", limit="a caption"
        )
    try:
        caption = encoded.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UnusablePairError("undecodable_caption", value=str(error), limit="UTF-8") from error
    _require_text(caption)
    return caption


def _require_text(caption: str) -> None:
    if found := _CONTROL_CHARACTERS.search(caption):
        raise UnusablePairError(
            "control_characters",
            value=f"{found[0]!a} at character {found.start()}",
            limit="text and white space",
        )
    if not any(map(_is_visible, caption)):
        raise UnusablePairError(
            "empty_caption", value=ascii(caption[:20]), limit="a visible character"
        )


def _is_visible(character: str) -> bool:
    category = unicodedata.category(character)
    return category not in _INVISIBLE_CATEGORIES and character not in _INVISIBLE


def _decompressed(stored: bytes, max_bytes: int) -> bytes:
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = gzip.decompress(stored, max_bytes + 1)
    except zlib.error as error:
        raise UnusablePairError("undecodable_caption", value=str(error), limit="gzip") from error
    if len(text) > max_bytes:
        raise UnusablePairError(
            "caption_too_many_bytes",
            value=f"over {max_bytes} bytes once decompressed",
            limit=f"<= {max_bytes} bytes",
        )
    if not gzip.eof:
        raise UnusablePairError("undecodable_caption", value="cut short", limit="whole gzip")
    return text


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
