"""Plain builders of small data: pictures, shards, pools, candidates and models."""

import dataclasses
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from vl_pipeline.curation.selection import Candidates
from vl_pipeline.data.digest import digest_of_bytes
from vl_pipeline.data.pairs import PAIR_SCHEMA, PairLimits
from vl_pipeline.data.shards import index_shard
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.objectives.objective import Objective
from vl_pipeline.training.schedule import Site

LIMITS = PairLimits(
    max_pixels=1_000_000,
    max_image_bytes=1_000_000,
    max_json_bytes=300_000,
    max_caption_bytes=1000,
    max_plain_bytes=10_000_000,
)

Members = list[tuple[str, bytes]]
"""Name and content of an archive's members, in archive order; a name may come twice."""


def unit(*rows: Sequence[float]) -> np.ndarray:
    """Rows scaled to unit length, float32."""
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sign_vectors(numbers: Sequence[int]) -> np.ndarray:
    """Unit vectors with 16 entries of +-1/4, the signs being the number's bits.

    Their dot products are multiples of 1/8 and come out exact, so ties are ties and a score can
    lie on a threshold.
    """
    bits = (np.array(numbers, dtype=np.int64).reshape(-1, 1) >> np.arange(16)) & 1
    return (0.25 - 0.5 * bits).astype(np.float32)


def picture(
    *, color: tuple[int, int, int] = (200, 30, 30), width: int = 24, height: int = 24, kind="JPEG"
) -> bytes:
    """A compressed picture of one colour with a darker left third, so that it has a left."""
    pixels = np.full((height, width, 3), color, dtype=np.uint8)
    pixels[:, : width // 3] //= 4
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def distinct_picture(number: int, **settings) -> bytes:
    """A picture whose colour, and so its bytes, depend on the number (0 to 255)."""
    return picture(color=(97 * number % 256, 59 * number % 256, 29 * number % 256), **settings)


def pair_members(
    key: str,
    *,
    caption: str | bytes | None = "a red square",
    image: bytes | None = None,
    side: dict | bytes | None = None,
    image_suffix: str = "jpg",
) -> Members:
    """The members img2dataset writes for one pair; what is None is not written."""
    members: Members = [] if image is None else [(f"{key}.{image_suffix}", image)]
    if caption is not None:
        members.append((f"{key}.txt", caption if isinstance(caption, bytes) else caption.encode()))
    if side is not None:
        members.append(
            (f"{key}.json", side if isinstance(side, bytes) else json.dumps(side).encode())
        )
    return members


def write_tar(path: Path, *parts: Members, format: int = tarfile.USTAR_FORMAT) -> Path:
    """Write members, in order, as an uncompressed tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:", format=format) as archive:
        for name, content in itertools.chain(*parts):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def write_side_table(shard: Path, rows: list[tuple[str, str, str | None]]) -> Path:
    """Write img2dataset's table beside a shard, from (key, status, error message)."""
    columns = dict(zip(("key", "status", "error_message"), zip(*rows, strict=True), strict=True))
    table = pa.table(
        {name: pa.array(list(values), pa.string()) for name, values in columns.items()}
    )
    path = shard.with_suffix(".parquet")
    pq.write_table(table, path)
    return path


def write_pool_shard(path: Path, captions: Sequence[str], **settings) -> pa.Table:
    """Write a shard with one picture per caption, and give its pool table."""
    parts = [
        pair_members(f"{n:05d}", caption=caption, image=distinct_picture(n, **settings))
        for n, caption in enumerate(captions)
    ]
    write_tar(path, *parts)
    return index_shard(path, path.name, LIMITS).pairs


def pool_table(num_pairs: int, **columns: list) -> pa.Table:
    """A pool of pairs that no shard holds: passes every rule unless `columns` say otherwise."""
    numbers = range(num_pairs)
    defaults = {
        "uid": [digest_of_bytes(str(n).encode()) for n in numbers],
        "shard": ["0.tar"] * num_pairs,
        "key": [f"{n:05d}" for n in numbers],
        "image_offset": [512 * n for n in numbers],
        "image_bytes": [100] * num_pairs,
        "image_hash": [digest_of_bytes(b"image", str(n).encode()) for n in numbers],
        "perceptual_hash": [hashlib.sha256(str(n).encode()).digest() for n in numbers],
        "colour_grid": [hashlib.sha384(str(n).encode()).digest() for n in numbers],
        "width": [64] * num_pairs,
        "height": [48] * num_pairs,
        "caption": [f"caption number {n}" for n in numbers],
        "url": [None] * num_pairs,
    }
    return pa.table(defaults | columns, schema=PAIR_SCHEMA)


def scored(scores: Sequence[float], rows: Sequence[int] | None = None) -> Candidates:
    """Candidates whose pairs' scores are known, for rules that ask for no features."""
    known = np.array(scores, dtype=np.float32)
    captions = [f"caption number {n}" for n in range(len(known))]
    block = captioned(captions, ["a text"], rows)
    return dataclasses.replace(block, score_pairs=lambda rows: known[rows])


def candidates(
    features: np.ndarray, targets: np.ndarray, rows: Sequence[int] | None = None
) -> Candidates:
    """Candidates whose caption features are known: pool row r has features[r]."""
    return Candidates(
        rows=np.arange(len(features)) if rows is None else np.array(rows, dtype=np.int64),
        pool=pool_table(len(features)),
        target_texts=[f"text {n}" for n in range(len(targets))],
        encode_captions=lambda rows: features[rows],
        encode_targets=lambda: targets,
    )


def captioned(captions: Sequence[str], target_texts: Sequence[str], rows=None) -> Candidates:
    """Candidates for rules that read captions and ask for no features."""

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("words need no features")

    return Candidates(
        rows=np.arange(len(captions)) if rows is None else np.array(rows, dtype=np.int64),
        pool=pool_table(len(captions), caption=list(captions)),
        target_texts=target_texts,
        encode_captions=refuse,
        encode_targets=refuse,
    )


def site(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    curator,
    batch_size: int = 4,
    seed: int = 0,
    curated: Sequence[int] = (),
) -> Site:
    """A site whose encoder never changes: pool row r always has features[r]."""
    pool = pool_table(len(features))

    def look(rows: np.ndarray) -> Candidates:
        return Candidates(
            rows=rows,
            pool=pool,
            target_texts=[f"text {n}" for n in range(len(targets))],
            encode_captions=lambda rows: features[rows],
            encode_targets=lambda: targets,
        )

    return Site(
        num_pairs=len(features),
        curator=curator,
        look=lambda: look,
        look_before_training=look,
        initial_targets=targets,
        curated=np.array(curated, dtype=np.int64),
        batch_size=batch_size,
        seed=seed,
    )


def tokens_of(*texts: Sequence[int]) -> Tokens:
    """Ragged tokens of texts given as lists of ids."""
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    values = np.array([number for text in texts for number in text], dtype=np.uint16)
    return Tokens(values, offsets.astype(np.int64))


def fake_tokens(num_texts: int, *, vocabulary: int = 100, longest: int = 8) -> Tokens:
    """Different texts of 3 to `longest` tokens that start and end as CLIP's do.

    The start token is the last but one of the vocabulary and the end token the last.
    """
    draw = np.random.default_rng(7)
    words = [
        draw.integers(1, vocabulary - 2, size=1 + n % (longest - 2)).tolist()
        for n in range(num_texts)
    ]
    return tokens_of(*([vocabulary - 2, *text, vocabulary - 1] for text in words))


def build_model(name: str, *, seed: int = 0, min_temperature: float = 0.01) -> DualEncoder:
    """A dual encoder with random weights."""
    return DualEncoder(model_config(name, min_temperature=min_temperature), seed=seed)


def pixels_of(num_images: int, *, side_px: int, seed: int = 0) -> torch.Tensor:
    """Noise pictures as 8-bit pixels [n, side, side, 3]."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(
        draw.integers(0, 256, size=(num_images, side_px, side_px, 3), dtype=np.uint8)
    )


def objective_of(
    loss: Literal["image_to_text", "symmetric", "siglip"], **weights: float
) -> Objective:
    """The contrastive objective, for a model of any kind."""
    model = cast(DualEncoder, None)  # it takes no sizes from it
    return Contrastive(loss=loss, **weights).build(model, seed=0)


def model_config(name: str, *, min_temperature: float = 0.01, **sources: str) -> DualEncoderConfig:
    """A configuration with random weights, but for what `sources` name."""
    return DualEncoderConfig(
        name=name,
        **({"pretrained": None} | sources),
        temperature=0.07,
        min_temperature=min_temperature,
    )


def write_text_encoder(folder: Path, *, seed: int = 0, pads_with: int = 0) -> Path:
    """A tiny BERT with a word tokenizer and a mean pooler, in Hugging Face's folder layout."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "red", "of", "photo"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=pads_with,
    )
    torch.manual_seed(seed)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return folder
