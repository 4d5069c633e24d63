"""What the stages before training made, as training takes it."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.shards import PoolShards
from vl_pipeline.data.tokens import Tokenizer, Tokens, read_tokens
from vl_pipeline.embedding.store import Embeddings, PairScores, read_embeddings, read_pair_scores
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What the stages before training made.

    Attributes:
        pool: One row per pair.
        folder: Where the pool's shards lie.
        tokens: Captions, in the order of the pool.
        tokenizer: The one that made them.
        embeddings: Features of captions and target texts before training.
        text_start: Weights of the text trunk that made them.
        curated: Manifest of what was kept before training.
        pair_scores: How well image and caption of each pair agree, for a curator that asks.
    """

    pool: pa.Table
    folder: str | Path
    tokens: Tokens
    tokenizer: Tokenizer
    embeddings: Embeddings
    text_start: Path
    curated: pa.Table
    pair_scores: PairScores | None = None


def read_training_data(
    pool: pa.Table,
    shards: PoolShards,
    *,
    curated: pa.Table,
    model: DualEncoderConfig,
    tokens: Path,
    text_start: Path,
    embeddings: Path,
    pair_scores: Path | None,
) -> TrainingData:
    """Read what the embed stage wrote about a pool, and what the score stage did.

    Raises:
        PoolError: If embeddings or scores belong to another pool.
    """
    return TrainingData(
        pool=pool,
        folder=shards.folder,
        tokens=read_tokens(tokens),
        tokenizer=build_tokenizer(model),
        embeddings=read_embeddings(embeddings, pool=pool),
        text_start=text_start,
        curated=curated,
        pair_scores=read_pair_scores(pair_scores, pool=pool) if pair_scores else None,
    )
