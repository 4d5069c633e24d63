"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder that is whole or absent. Tensors are safetensors and the rest is JSON:
loading one runs no code that a stranger could have put there.

    <folder>/step-00000300/
        weights.safetensors     model, and heads of the objective
        optimizer.safetensors   moments and step counts, under the names of their parameters
        state.json              step, place in the round, random state, history
        round_rows.npy          the pairs of the round in progress
        times_seen.npy          how often each pair of the pool was trained on
        schedule.safetensors    what else the schedule goes on with, where it has more
"""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int32
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from vl_pipeline.data.atomic import atomic_folder
from vl_pipeline.data.pool import Rows
from vl_pipeline.errors import CheckpointError
from vl_pipeline.models.weights import load_weights, save_weights
from vl_pipeline.training.forecast import LastFeatures
from vl_pipeline.training.schedule import RoundState

logger = logging.getLogger(__name__)

_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, RecursionError),
    *(SafetensorError, CheckpointError),
)
_ENCODER, _LAST_FEATURES = "encoder/", "last_features"
_NUM_KEPT = 2  # the last one, and one to fall back on should it turn out damaged


@dataclass(kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: Optimiser steps done.
        round: The round in progress, None before the first.
        num_batches_done: Steps of that round done.
        history: One record per logged step.
        rounds: One record per round.
        validation: One record per validation during training.
        seconds: Wall time of curating and training so far, without validations.
        times_seen: How often each pair of the pool was trained on; empty before the first step.
    """

    step: int = 0
    round: RoundState | None = None
    num_batches_done: int = 0
    history: list[dict[str, float]]
    rounds: list[dict[str, float | str]]
    validation: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    times_seen: Int32[np.ndarray, " pairs"] = field(default_factory=lambda: np.zeros(0, np.int32))


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that no other run has: whatever checkpoint it holds is gone on from."""
        self.path = folder

    def save(
        self, modules: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
    ) -> Path:
        """Save a checkpoint after `progress.step` steps, and remove older ones."""
        target = self.path / f"step-{progress.step:08d}"
        with atomic_folder(target) as folder:
            save_weights(modules, folder / "weights.safetensors")
            save_file(_optimizer_tensors(modules, optimizer), folder / "optimizer.safetensors")
            rows = progress.round.rows if progress.round else np.zeros(0, dtype=np.int64)
            np.save(folder / "round_rows.npy", rows)
            if progress.round and (arrays := _schedule_arrays(progress.round)):
                save_arrays(arrays, folder / "schedule.safetensors")
            np.save(folder / "times_seen.npy", progress.times_seen)
            (folder / "state.json").write_text(json.dumps(self._state_of(progress)))
        for old in self._found()[:-_NUM_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def restore(self, modules: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the last whole checkpoint of this run into `modules` and `optimizer`; in place.

        Damaged ones are passed over, with a word on why.

        Returns:
            How far the run had come; the beginning if there is no checkpoint.
        """
        for folder in reversed(self._found()):
            try:
                state = json.loads((folder / "state.json").read_text())
                return self._load(folder, state, modules, optimizer)
            except _DAMAGE as error:
                logger.warning("%s is damaged (%s): trying the one before", folder, error)
        return Progress(history=[], rounds=[])

    def _load(
        self,
        folder: Path,
        state: dict[str, Any],
        modules: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> Progress:
        moments = _moments_by_parameter(modules, load_file(folder / "optimizer.safetensors"))
        rows = np.load(folder / "round_rows.npy", allow_pickle=False)
        times_seen = np.load(folder / "times_seen.npy", allow_pickle=False)
        random_state = _random_state(state["random_state"])
        place = state["round"]
        progress = Progress(
            step=state["step"],
            round=_round_state(folder, place, rows) if place else None,
            num_batches_done=state["num_batches_done"],
            history=state["history"],
            rounds=state["rounds"],
            validation=state["validation"],
            seconds=state["seconds"],
            times_seen=times_seen,
        )
        # everything is read by now: a damaged checkpoint has changed nothing
        load_weights(modules, folder / "weights.safetensors")
        for parameter, moment in moments.items():
            optimizer.state[parameter] = moment
        for group in optimizer.param_groups:  # LAMB counts steps here, AdamW among its moments
            group["step"] = torch.tensor(float(progress.step))
        torch.set_rng_state(random_state)
        return progress

    def _state_of(self, progress: Progress) -> dict[str, Any]:
        place = progress.round
        return {
            "step": progress.step,
            "round": {
                "index": place.index,
                "position": place.position,
                "arrays": sorted(_schedule_arrays(place)),
            }
            if place
            else None,
            "num_batches_done": progress.num_batches_done,
            "random_state": torch.get_rng_state().tolist(),
            "history": progress.history,
            "rounds": progress.rounds,
            "validation": progress.validation,
            "seconds": progress.seconds,
        }

    def _found(self) -> list[Path]:
        return sorted(self.path.glob("step-*"))


def _schedule_arrays(state: RoundState) -> dict[str, np.ndarray]:
    arrays = {_ENCODER + name: array for name, array in state.encoder.items()}
    if state.last_features:
        arrays[_LAST_FEATURES] = state.last_features.rounded
    return arrays


def _round_state(folder: Path, place: dict[str, Any], rows: Rows) -> RoundState:
    names = place["arrays"]
    arrays = load_arrays(folder / "schedule.safetensors") if names else {}
    if sorted(arrays) != names:
        raise CheckpointError(f"schedule.safetensors holds {sorted(arrays)}, not {names}")
    return RoundState(
        index=place["index"],
        position=place["position"],
        rows=rows,
        last_features=LastFeatures(arrays[_LAST_FEATURES]) if _LAST_FEATURES in arrays else None,
        encoder={
            name.removeprefix(_ENCODER): array
            for name, array in arrays.items()
            if name.startswith(_ENCODER)
        },
    )


def _optimizer_tensors(
    modules: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    return {
        f"{name}|{key}": value.contiguous()
        for name, parameter in modules.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _moments_by_parameter(
    modules: nn.Module, tensors: dict[str, torch.Tensor]
) -> dict[nn.Parameter, dict[str, torch.Tensor]]:
    parameters = dict(modules.named_parameters())
    moments: dict[nn.Parameter, dict[str, torch.Tensor]] = {}
    for label, value in tensors.items():
        name, key = label.split("|")
        parameter = parameters[name]
        value = value.to(parameter.device)  # fused AdamW wants its step count there too
        if value.ndim:  # and moments in the parameter's own memory order
            value = torch.empty_like(parameter).copy_(_of_shape(parameter.shape, label, value))
        moments.setdefault(parameter, {})[key] = value
    return moments


def _of_shape(shape: torch.Size, label: str, value: torch.Tensor) -> torch.Tensor:
    if value.shape != shape:
        raise ValueError(f"{label} has the shape {tuple(value.shape)}, not {tuple(shape)}")
    return value


def _random_state(numbers: list[int]) -> torch.Tensor:
    try:
        state = torch.tensor(numbers, dtype=torch.uint8)
        torch.Generator().set_state(state)
    except RuntimeError as error:
        raise ValueError(f"random_state is none ({error})") from error
    return state
