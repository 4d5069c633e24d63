"""Train a dual encoder on what a method's schedule and curator choose."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.shards import PoolShards
from vl_pipeline.data.tokens import read_tokens
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.embedding.store import read_embeddings, read_pair_scores
from vl_pipeline.method import Method
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer
from vl_pipeline.training.loop import Training
from vl_pipeline.training.report import draw_training, training_report
from vl_pipeline.training.run import Recipe, TrainingData, train_recipe, write_checkpoint

Outputs = tuple[Writer, list[dict[str, Any]], list[dict[str, Any]], pa.Table, dict, Writer]


def train_with(method: Method) -> Callable[..., Outputs]:
    """Build the node of one method."""

    def train(
        pool: pa.Table,
        tokens: Path,
        text_start: Path,
        embeddings: Path,
        curated: pa.Table,
        shards: PoolShards,
        model: DualEncoderConfig,
        training: Training,
        curator: method.curator,
        schedule: method.schedule,
        objective: method.objective,
        scratch: Path,
        pair_scores: Path | None = None,
    ) -> Outputs:
        """Give checkpoint, history, rounds, pairs trained on, statistics and figures."""
        data = TrainingData(
            pool=pool,
            folder=shards.folder,
            tokens=read_tokens(tokens),
            tokenizer=build_tokenizer(model),
            embeddings=read_embeddings(embeddings, pool=pool),
            text_start=text_start,
            curated=curated,
            pair_scores=read_pair_scores(pair_scores, pool=pool) if pair_scores else None,
        )
        recipe = Recipe(
            name=method.name,
            curator=curator,
            schedule=schedule,
            objective=objective,
            frozen=method.frozen,
            model=model,
            training=training,
        )
        trained = train_recipe(data, recipe, device=choose_device(), scratch=scratch)
        return (
            partial(write_checkpoint, trained=trained, config=model),
            trained.progress.history,
            trained.progress.rounds,
            trained.pairs,
            training_report(trained, data),
            partial(draw_training, trained=trained, data=data),
        )

    return train
