"""What encoders say of every pair, on disk.

Features of captions and target texts under one encoder:

<folder>/captions.npy   float16 [pairs, width], in the order of the pool
<folder>/targets.npy    float16 [target texts, width]
<folder>/uids.npy       the captions' uids, 16 bytes each
<folder>/about.json     the target texts, their templates, the pool's and the encoder's digest

Scores of pairs under one scorer:

<folder>/scores.npy     float32 [pairs], in the order of the pool
<folder>/uids.npy       the pairs' uids, 16 bytes each
<folder>/about.json     the pool's and the scorer's digest
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from vl_pipeline.data.digest import DIGEST_BYTES
from vl_pipeline.data.pool import digest_of_pool, strings_of
from vl_pipeline.data.tasks import PLACEHOLDER
from vl_pipeline.errors import PoolError


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Caption and target features of one encoder.

    Attributes:
        captions: Unit length, in the order of the pool; memory-mapped float16 when read. None where
            nobody asks for them.
        targets: Unit length, in the order of `target_texts`.
        target_texts: The task's texts.
        encoder_digest: Of the weights that made them.
        target_templates: What each target text was written into before it was encoded.
    """

    captions: np.ndarray | None
    targets: Float32[np.ndarray, "targets width"]
    target_texts: list[str]
    encoder_digest: str
    target_templates: tuple[str, ...] = (PLACEHOLDER,)

    def captions_of(self, rows: np.ndarray) -> Float32[np.ndarray, "n width"]:
        """Gather captions' features in float32, at unit length again after float16's rounding.

        Raises:
            PoolError: If captions were not encoded.
        """
        if self.captions is None:
            raise PoolError(
                "captions were not encoded before training, because the method's curator has "
                "`needs_caption_features = False`, but it asks for them; take that out of its class"
            )
        return _unit(self.captions[rows])


def fill_embeddings(folder: Path, embeddings: Embeddings, *, pool: pa.Table) -> None:
    """Fill an empty folder."""
    if embeddings.captions is not None:
        np.save(folder / "captions.npy", embeddings.captions.astype(np.float16, copy=False))
    np.save(folder / "targets.npy", embeddings.targets.astype(np.float16))
    np.save(folder / "uids.npy", _bytes_of(pool))
    about = {
        "target_texts": embeddings.target_texts,
        "target_templates": embeddings.target_templates,
        "pool_digest": digest_of_pool(pool),
        "encoder_digest": embeddings.encoder_digest,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")


def read_embeddings(folder: Path, *, pool: pa.Table) -> Embeddings:
    """Map what `fill_embeddings` wrote.

    Raises:
        PoolError: If it belongs to another pool.
    """
    about = _about(folder, pool, what="embeddings", stage="embed")
    captions = folder / "captions.npy"
    return Embeddings(
        captions=np.load(captions, mmap_mode="r") if captions.exists() else None,
        targets=_unit(np.load(folder / "targets.npy")),
        target_texts=about["target_texts"],
        target_templates=tuple(about["target_templates"]),
        encoder_digest=about["encoder_digest"],
    )


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """How well image and caption of each pair agree under one scorer.

    Attributes:
        scores: Cosine similarities, in the order of the pool; memory-mapped when read.
        scorer_digest: Of the weights that made them.
    """

    scores: Float32[np.ndarray, " pairs"]
    scorer_digest: str

    def of(self, rows: np.ndarray) -> Float32[np.ndarray, " n"]:
        """Gather pairs' scores."""
        return self.scores[rows]


def fill_pair_scores(folder: Path, pair_scores: PairScores, *, pool: pa.Table) -> None:
    """Fill an empty folder."""
    np.save(folder / "scores.npy", pair_scores.scores)
    np.save(folder / "uids.npy", _bytes_of(pool))
    about = {"pool_digest": digest_of_pool(pool), "scorer_digest": pair_scores.scorer_digest}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")


def read_pair_scores(folder: Path, *, pool: pa.Table) -> PairScores:
    """Map what `fill_pair_scores` wrote.

    Raises:
        PoolError: If it belongs to another pool.
    """
    about = _about(folder, pool, what="pair scores", stage="score")
    return PairScores(
        scores=np.load(folder / "scores.npy", mmap_mode="r"), scorer_digest=about["scorer_digest"]
    )


def _about(folder: Path, pool: pa.Table, *, what: str, stage: str) -> dict[str, Any]:
    about = json.loads((folder / "about.json").read_text())
    if about["pool_digest"] != digest_of_pool(pool):
        raise PoolError(
            f"{folder} holds {what} of another pool; run the pipeline from {stage} again"
        )
    return about


def _unit(features: np.ndarray) -> Float32[np.ndarray, "n width"]:
    wide = features.astype(np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(min=1e-12)


def _bytes_of(pool: pa.Table) -> np.ndarray:
    joined = b"".join(bytes.fromhex(uid) for uid in strings_of(pool["uid"]))
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
