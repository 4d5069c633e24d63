"""Train a dual encoder on what a method's schedule and curator choose."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.shards import PoolShards
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.evaluation.validation import validation_of
from vl_pipeline.method import Method
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.training.data import read_training_data
from vl_pipeline.training.loop import Training
from vl_pipeline.training.report import draw_training, training_report
from vl_pipeline.training.run import Recipe, train_recipe, write_checkpoint
from vl_pipeline.training.validated import digests_of_validated

Records = list[dict[str, Any]]
Outputs = tuple[Writer, Records, Records, Records, pa.Table, dict[str, Any], Writer]


def train_with(method: Method) -> Callable[..., Outputs]:
    """Build the node of one method."""

    def train(
        pool: pa.Table,
        tokens: Path,
        text_start: Path,
        embeddings: Path,
        curated: pa.Table,
        shards: PoolShards,
        tasks: Tasks,
        model: DualEncoderConfig,
        training: Training,
        curator: method.curator,
        schedule: method.schedule,
        objective: method.objective,
        scratch: Path,
        pair_scores: Path | None = None,
    ) -> Outputs:
        """Give checkpoint, history, rounds, validation, pairs trained on, statistics, figures."""
        data = read_training_data(
            pool,
            shards,
            curated=curated,
            model=model,
            tokens=tokens,
            text_start=text_start,
            embeddings=embeddings,
            pair_scores=pair_scores,
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
        device = choose_device()
        validate = validation_of(
            tasks,
            tokenizer=data.tokenizer,
            device=device,
            batch_size=training.batch_size,
            num_threads=training.num_threads,
        )
        trained = train_recipe(
            data,
            recipe,
            device=device,
            scratch=scratch,
            validate=validate,
            validated=digests_of_validated(tasks),
        )
        return (
            partial(write_checkpoint, trained=trained, config=model),
            trained.progress.history,
            trained.progress.rounds,
            trained.progress.validation,
            trained.pairs,
            training_report(trained, data),
            partial(draw_training, trained=trained, data=data),
        )

    return train
