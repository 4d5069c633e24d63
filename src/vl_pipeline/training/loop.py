"""The one training loop. Methods differ in what they hand to it, never in the loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import nn
from tqdm import tqdm

from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.data.views import TrainingViews
from vl_pipeline.embedding.image_source import ImageSource
from vl_pipeline.errors import TrainingError
from vl_pipeline.models.device import keep_freed_memory
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.objective import Objective
from vl_pipeline.training.checkpoint import CheckpointFolder, Progress
from vl_pipeline.training.gradient import Batch, BatchGradient
from vl_pipeline.training.optimization import Optimization, build_optimizer, learning_rate_at
from vl_pipeline.training.schedule import Round, Schedule, Site

logger = logging.getLogger(__name__)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Training:
    """How long and on what a model is trained; the same for every method that is compared.

    Attributes:
        num_steps: Optimiser steps; pairs seen are num_steps * batch_size.
        batch_size: Pairs per step; each image has batch_size - 1 negatives.
        accumulate: Parts a batch is cut into to save memory. Every pair still has the whole
            batch as negatives, at the price of a second forward pass.
        optimization: The optimiser.
        views: How training views are drawn.
        log_every: Steps between records of the history.
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between validations; 0 validates never. The last step is validated
            too. Validating changes nothing about what is trained.
        num_threads: Threads that load images ahead.
        seed: Of new weights, orders and views.
    """

    num_steps: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Ge(2)]
    accumulate: Annotated[int, Ge(1)]
    optimization: Optimization
    views: TrainingViews
    log_every: Annotated[int, Gt(0)]
    checkpoint_every: Annotated[int, Gt(0)]
    validate_every: Annotated[int, Ge(0)]
    num_threads: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)]


RoundListener = Callable[[Round], None]

Validate = Callable[[DualEncoder], dict[str, float]]
"""Measures a model on held-out data, by name; may leave it in evaluation mode."""


class Trainer:
    """A model, its objective and its optimiser, one step at a time."""

    def __init__(
        self,
        model: DualEncoder,
        objective: Objective,
        source: ImageSource,
        tokens: Tokens,
        training: Training,
        *,
        device: torch.device,
    ) -> None:
        """Take what is trained (in place), where its images come from, and its captions."""
        self.model = model.to(device)
        self.objective = objective.to(device)
        self.modules = nn.ModuleDict({"model": self.model, "heads": self.objective.heads})
        self.optimizer = build_optimizer(self.modules, training.optimization)
        self.gradient = BatchGradient(
            self.model, self.objective, source, num_parts=training.accumulate, device=device
        )
        self._source = source
        self._tokens = tokens
        self._training = training
        self._device = device
        self._counted_until = 0.0

    def run(
        self,
        schedule: Schedule,
        site: Site,
        checkpoints: CheckpointFolder,
        *,
        on_round: RoundListener,
        validate: Validate | None = None,
    ) -> Progress:
        """Train from the last checkpoint, or the beginning, to `num_steps`.

        Args:
            schedule: Yields the rounds.
            site: What the schedule works with.
            checkpoints: Where checkpoints are found and saved.
            on_round: Called with each new decision; again, after an interruption, with those
                made since the last checkpoint.
            validate: Asked every `validate_every` steps; its answers are recorded, and that is all.

        Raises:
            TrainingError: If the loss is not finite; the last checkpoint is kept.
        """
        progress = checkpoints.restore(self.modules, self.optimizer)
        if not progress.step:
            progress.times_seen = np.zeros(site.num_pairs, dtype=np.int32)
        else:
            logger.info("training goes on from step %d of %s", progress.step, checkpoints.path)
        self.model.train()
        if self._device.type == "cpu":
            keep_freed_memory()
        bar = tqdm(
            total=self._training.num_steps * site.batch_size,
            initial=progress.step * site.batch_size,
            desc="train",
            unit="pair",
            disable=None,
        )
        self._counted_until = time.monotonic()
        # closed, a schedule that works ahead stops
        with closing(schedule.rounds(site, resume=progress.round)) as rounds:
            while progress.step < self._training.num_steps:
                self._train_round(next(rounds), progress, checkpoints, on_round, validate, bar)
        bar.close()
        return progress

    def _train_round(
        self,
        round_: Round,
        progress: Progress,
        checkpoints: CheckpointFolder,
        on_round: RoundListener,
        validate: Validate | None,
        bar: "tqdm[Any]",
    ) -> None:
        resumed = progress.round is not None and round_.state.index == progress.round.index
        done = progress.num_batches_done if resumed else 0
        progress.round, progress.num_batches_done = round_.state, done
        if round_.selection is not None:
            progress.rounds.append(
                {"round": round_.state.index, "step": progress.step, **round_.statistics}
            )
            on_round(round_)
        left = self._training.num_steps - progress.step
        for batch in self._load(round_.batches[done:][:left], progress.step):
            report = self._step(batch, progress.step, checkpoints.path)
            progress.step += 1
            progress.num_batches_done += 1
            progress.times_seen[batch.rows] += 1
            bar.update(len(batch.rows))
            self._record(progress, report, len(batch.rows))
            self._count_seconds(progress)
            self._validate(progress, validate, len(batch.rows))
            if progress.step % self._training.checkpoint_every == 0 or self._is_last(progress):
                checkpoints.save(self.modules, self.optimizer, progress)

    def _load(self, batches: list[Rows], first_step: int) -> Iterator[Batch]:
        numbered = list(enumerate(batches, start=first_step))
        for rows, images in zip(batches, self._source.inputs(numbered), strict=True):
            tokens = torch.from_numpy(self._tokens.padded(rows)).to(self._device)
            yield Batch(rows=rows, images=images, tokens=tokens)

    def _step(self, batch: Batch, step: int, last_good: Path) -> dict[str, float]:
        learning_rate = learning_rate_at(
            step, self._training.optimization, num_steps=self._training.num_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        report = self.gradient.backward(batch)
        values = {name: value.item() for name, value in report.items()}
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        gradient_norm = nn.utils.get_total_norm(gradients).item()
        if not math.isfinite(values["loss_total"]) or not math.isfinite(gradient_norm):
            raise TrainingError(
                f"the loss is {values['loss_total']} at step {step}, and its gradient's norm "
                f"{gradient_norm}; lower training.optimization.learning_rate (now "
                f"{self._training.optimization.learning_rate}) or raise warmup_steps and start "
                f"again: with other numbers training begins anew. The last good checkpoint of this "
                f"run stays in {last_good}"
            )
        self.optimizer.step()
        self.model.clamp_temperature()
        return values | {
            "learning_rate": learning_rate,
            "temperature": self.model.temperature.item(),
        }

    def _record(self, progress: Progress, report: dict[str, float], batch_size: int) -> None:
        if progress.step % self._training.log_every == 0 or self._is_last(progress):
            progress.history.append(
                {"step": progress.step, "pairs_seen": progress.step * batch_size, **report}
            )

    def _validate(self, progress: Progress, validate: Validate | None, batch_size: int) -> None:
        every = self._training.validate_every
        if validate is None or not every:
            return
        if progress.step % every == 0 or self._is_last(progress):
            measured = validate(self.model)
            self.model.train()
            place = {"step": progress.step, "pairs_seen": progress.step * batch_size}
            progress.validation.append({**place, "seconds": progress.seconds, **measured})
            self._counted_until = time.monotonic()

    def _count_seconds(self, progress: Progress) -> None:
        now = time.monotonic()
        progress.seconds += now - self._counted_until
        self._counted_until = now

    def _is_last(self, progress: Progress) -> bool:
        return progress.step == self._training.num_steps
