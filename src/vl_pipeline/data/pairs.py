"""One pair: what an archive must hold under one key for it to be of use, and what is noted of it.

Image and caption must both be there and be readable. What is wrong with a pair that cannot be used
is said by an error that becomes its row of the ledger.
"""

import json
import mmap
import zlib

import pyarrow as pa

from vl_pipeline.data.digest import digest_of_bytes
from vl_pipeline.data.images import decode_rgb
from vl_pipeline.data.perceptual_hash import NUM_HASH_BYTES, perceptual_hash
from vl_pipeline.data.tar import Member
from vl_pipeline.errors import ShardError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif")
_TEXT_SUFFIXES = ("txt", "txt.gz", "caption.txt", "text.txt")
_MAX_TEXT_BYTES = 2**20  # of a caption once decompressed

PAIR_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),  # of image bytes and caption: the pair's identity everywhere
        ("shard", pa.string()),  # path below the pool's folder
        ("key", pa.string()),
        ("image_offset", pa.int64()),  # of the compressed image within the shard, in bytes
        ("image_bytes", pa.int64()),
        ("image_hash", pa.string()),
        ("perceptual_hash", pa.binary(NUM_HASH_BYTES)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),
        ("url", pa.string()),  # null where the shard does not say
    ]
)


class UnusablePairError(Exception):
    """Why a pair cannot be used; becomes a row of the ledger."""

    def __init__(self, rule: str, *, value: str, limit: str) -> None:
        super().__init__(rule)
        self.rule, self.value, self.limit = rule, value, limit


def read_pair(
    data: mmap.mmap | bytes, shard: str, key: str, members: list[Member], max_pixels: int
) -> dict[str, object]:
    """Read one pair of an archive: a row of `PAIR_SCHEMA`.

    Args:
        data: The archive.
        shard: How the archive is called in the pool.
        key: The pair's key in the archive.
        members: The files under this key.
        max_pixels: An image of more pixels is refused before it is decoded.

    Raises:
        UnusablePairError: If image or caption is missing or cannot be read.
    """
    by_suffix = {member.suffix: member for member in members}
    # `0001.seg.png` is another picture of the pair; `0001.image.png` is the pair's own.
    suffixes = (*IMAGE_SUFFIXES, *(f"image.{suffix}" for suffix in IMAGE_SUFFIXES))
    image = next((by_suffix[s] for s in suffixes if s in by_suffix), None)
    if image is None:
        raise UnusablePairError(
            "missing_image", value=",".join(by_suffix), limit=f"one of {','.join(IMAGE_SUFFIXES)}"
        )
    side = _read_side_json(data, by_suffix.get("json"))
    text = next((by_suffix[s] for s in _TEXT_SUFFIXES if s in by_suffix), None)
    caption = _read_caption(data, text, side)
    image_bytes = data[image.offset : image.offset + image.num_bytes]
    try:
        pixels = decode_rgb(image_bytes, max_pixels=max_pixels)
    except ShardError as error:
        raise UnusablePairError(
            "unreadable_image", value=str(error), limit="a whole image"
        ) from error
    url = side.get("url")
    return {
        "uid": digest_of_bytes(image_bytes, caption.encode()),
        "shard": shard,
        "key": key,
        "image_offset": image.offset,
        "image_bytes": image.num_bytes,
        "image_hash": digest_of_bytes(image_bytes),
        "perceptual_hash": perceptual_hash(pixels),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "caption": caption,
        "url": url if isinstance(url, str) and not _has_surrogates(url) else None,
    }


def _read_side_json(data: mmap.mmap | bytes, member: Member | None) -> dict[str, object]:
    if member is None:
        return {}
    try:
        value = json.loads(data[member.offset : member.offset + member.num_bytes])
    except (ValueError, RecursionError) as error:
        raise UnusablePairError(
            "unreadable_json", value=type(error).__name__, limit="JSON"
        ) from error
    return value if isinstance(value, dict) else {}


def _read_caption(data: mmap.mmap | bytes, text: Member | None, side: dict[str, object]) -> str:
    if text is not None:
        try:
            caption = _text_bytes(data, text).decode()
        except (UnicodeDecodeError, zlib.error) as error:
            raise UnusablePairError(
                "undecodable_caption", value=str(error), limit="UTF-8"
            ) from error
    elif isinstance(found := side.get("caption") or side.get("text"), str):
        caption = found
        if not caption.isprintable() and _has_surrogates(caption):
            raise UnusablePairError("undecodable_caption", value="lone surrogate", limit="UTF-8")
    else:
        raise UnusablePairError(
            "missing_caption", value="no .txt, no caption or text in .json", limit="a caption"
        )
    if not caption.strip():
        raise UnusablePairError(
            "empty_caption", value=repr(caption[:20]), limit="a visible character"
        )
    return caption.strip()


def _text_bytes(data: mmap.mmap | bytes, member: Member) -> bytes:
    stored = data[member.offset : member.offset + member.num_bytes]
    if not member.suffix.endswith(".gz"):
        return stored
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = gzip.decompress(stored, _MAX_TEXT_BYTES)
    if not gzip.eof:
        raise zlib.error(f"cut short, or more than {_MAX_TEXT_BYTES} bytes")
    return text


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
