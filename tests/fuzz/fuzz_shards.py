"""Coverage-guided fuzzing of what reads strangers' bytes, by hand and for as long as wished.

Atheris is no dependency of the project; it lives in an environment of its own, which borrows the
project's packages (the same minor version of Python):

    python -m venv /tmp/atheris-venv && /tmp/atheris-venv/bin/pip install atheris
    PYTHONPATH=src:$(echo .venv/lib/python3.*/site-packages) OMP_NUM_THREADS=1 \\
        nice -n 19 /tmp/atheris-venv/bin/python tests/fuzz/fuzz_shards.py shard \\
        -max_total_time=300 -rss_limit_mb=2048 -timeout=20

The first argument is the target: `shard` (a whole archive through `index_shard`), `image`, `json`
or `caption`; the others are libFuzzer's. A finding is an exception that the reader does not
promise, accounts that do not add up, too much memory, or too much time; the input that caused it
is written to the working directory as `crash-*`, `oom-*` or `timeout-*`, and becomes a test.
"""

import io
import random
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vl_pipeline", "PIL", "json"]):
    from PIL import Image

    from vl_pipeline.data.images import decode_rgb
    from vl_pipeline.data.pairs import PairLimits, UnusablePairError, read_pair
    from vl_pipeline.data.shards import index_shard
    from vl_pipeline.data.tar import Member
    from vl_pipeline.errors import ShardError

BLOCK = 512
LIMITS = PairLimits(
    max_pixels=1_000_000,
    max_image_bytes=100_000,
    max_json_bytes=100_000,
    max_caption_bytes=10_000,
    max_plain_bytes=10_000_000,
)
FOLDER = Path(
    tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
)


def picture(kind: str, mode: str = "RGB", **settings) -> bytes:
    """A small picture of a gradient."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((12, 10)).convert(mode).save(file, kind, **settings)
    return file.getvalue()


def pair(key: str) -> list[tuple[str, bytes]]:
    """The members of a whole pair."""
    side = b'{"caption": "a cat", "url": "http://a.example/1.jpg"}'
    return [(f"{key}.jpg", picture("JPEG")), (f"{key}.txt", b"a cat"), (f"{key}.json", side)]


def archive(members: list[tuple[str, bytes]], *, format: int) -> bytes:
    """Members as a tar, without the padding of twenty blocks."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=format) as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            header.pax_headers = {"comment": "c"} if format == tarfile.PAX_FORMAT else {}
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue().rstrip(b"\0") + bytes(2 * BLOCK)


def read_shard(data: bytes) -> None:
    """Any bytes are indexed, and their accounts add up."""
    path = FOLDER / "0.tar"
    path.write_bytes(data)
    index = index_shard(path, "0.tar", LIMITS)
    assert index.num_listed == index.pairs.num_rows + index.ledger.num_rows
    for row in index.pairs.select(["image_offset", "image_bytes"]).to_pylist():
        assert 0 <= row["image_offset"] <= len(data) - row["image_bytes"]


def read_image(data: bytes) -> None:
    """Any bytes are an image within the limit, or a ShardError."""
    try:
        pixels = decode_rgb(data, min_side_px=8, max_pixels=LIMITS.max_pixels)
    except ShardError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def read_text(data: bytes, suffix: str) -> None:
    """Any bytes beside a whole image are a pair with UTF-8 strings, or an UnusablePairError."""
    image = picture("JPEG")
    members = [
        Member(suffix="jpg", offset=0, num_bytes=len(image)),
        Member(suffix=suffix, offset=len(image), num_bytes=len(data)),
    ]
    try:
        found = read_pair(image + data, "0.tar", "0", members, LIMITS)
    except UnusablePairError as error:
        assert f"{error.value}{error.limit}".encode() is not None
        return
    assert str(found["caption"]).encode().strip()
    assert str(found["url"]).encode() is not None


def repair_checksums(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate; then, mostly, make the headers valid again, so that what they say is looked at."""
    mutated = bytearray(atheris.Mutate(data, max_size))
    if random.Random(seed).random() < 0.1:
        return bytes(mutated)
    for start in range(0, len(mutated) - BLOCK + 1, BLOCK):
        header = mutated[start : start + BLOCK]
        if header[257:262] == b"ustar":
            total = sum(header) - sum(header[148:156]) + 8 * 32
            mutated[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(mutated)


FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
SEEDS: dict[str, list[bytes]] = {
    "shard": [
        archive([*pair("a"), *pair("k" * n), *pair("a")], format=format)
        for format in FORMATS
        for n in ((1,) if format == tarfile.USTAR_FORMAT else (1, 120))
    ],
    "image": [picture(kind) for kind in KINDS]
    + [picture("PNG", mode) for mode in ("1", "LA", "P", "RGBA", "I;16")]
    + [picture("JPEG", "CMYK"), picture("JPEG", "L"), picture("JPEG", progressive=True)]
    + [picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")]
    + [picture("TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")],
    "json": [pair("a")[2][1], b'[{"caption": null}, 1e5, "\\ud83c\\udf4e"]', b"[" * 50],
    "caption": [b"a cat", "\ufeff\U0001f34e صورة\u200b".encode(), b"Caf\xe9\0\x1b[31m"],
}
TARGETS: dict[str, Callable[[bytes], None]] = {
    "shard": read_shard,
    "image": read_image,
    "json": lambda data: read_text(data, "json"),
    "caption": lambda data: read_text(data, "txt"),
}


def main() -> None:
    """Write the seeds and hand over to libFuzzer."""
    warnings.simplefilter("ignore")
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"the target is '{name}'; it is one of {', '.join(TARGETS)}")
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"{number}").write_bytes(seed)
    mutator = {"custom_mutator": repair_checksums} if name == "shard" else {}
    atheris.Setup([*sys.argv, "-max_len=16384", str(corpus)], TARGETS[name], **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
