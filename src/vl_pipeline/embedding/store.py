"""Features of every caption and target text under one encoder, on disk.

<folder>/captions.npy   float16 [pairs, width], in the order of the pool
<folder>/targets.npy    float16 [target texts, width]
<folder>/uids.npy       the captions' uids, 16 bytes each
<folder>/about.json     the target texts, the pool's and the encoder's digest
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from vl_pipeline.data.digest import DIGEST_BYTES
from vl_pipeline.data.pool import digest_of_pool, strings_of
from vl_pipeline.errors import PoolError


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Caption and target features of one encoder.

    Attributes:
        captions: Unit length, in the order of the pool; memory-mapped float16 when read.
        targets: Unit length, in the order of `target_texts`.
        target_texts: The task's texts.
        encoder_digest: Of the weights that made them.
    """

    captions: np.ndarray
    targets: Float32[np.ndarray, "targets width"]
    target_texts: list[str]
    encoder_digest: str

    def captions_of(self, rows: np.ndarray) -> Float32[np.ndarray, "n width"]:
        """Gather captions' features in float32, at unit length again after float16's rounding."""
        return _unit(self.captions[rows])


def fill_embeddings(folder: Path, embeddings: Embeddings, *, pool: pa.Table) -> None:
    """Fill an empty folder."""
    np.save(folder / "captions.npy", embeddings.captions.astype(np.float16, copy=False))
    np.save(folder / "targets.npy", embeddings.targets.astype(np.float16))
    np.save(folder / "uids.npy", _bytes_of(pool))
    about = {
        "target_texts": embeddings.target_texts,
        "pool_digest": digest_of_pool(pool),
        "encoder_digest": embeddings.encoder_digest,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")


def read_embeddings(folder: Path, *, pool: pa.Table) -> Embeddings:
    """Map what `fill_embeddings` wrote.

    Raises:
        PoolError: If it belongs to another pool.
    """
    about = json.loads((folder / "about.json").read_text())
    if about["pool_digest"] != digest_of_pool(pool):
        raise PoolError(
            f"{folder} holds embeddings of another pool; run the pipeline from embed again"
        )
    return Embeddings(
        captions=np.load(folder / "captions.npy", mmap_mode="r"),
        targets=_unit(np.load(folder / "targets.npy")),
        target_texts=about["target_texts"],
        encoder_digest=about["encoder_digest"],
    )


def _unit(features: np.ndarray) -> Float32[np.ndarray, "n width"]:
    wide = features.astype(np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(min=1e-12)


def _bytes_of(pool: pa.Table) -> np.ndarray:
    joined = b"".join(bytes.fromhex(uid) for uid in strings_of(pool["uid"]))
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
