"""The optimiser, its parameter groups, and the learning rate of each step."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import nn


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Optimization:
    """AdamW or LAMB, with a linear warm-up and a fall to the lowest rate.

    Attributes:
        optimizer: `adamw`, or `lamb`, whose steps are scaled to each matrix's own size (for batches
            of thousands). Neither clips gradients.
        decay: How the rate falls after the warm-up: half a `cosine`, or `linear`.
        learning_rate: Highest, reached at the end of the warm-up.
        min_learning_rate: Lowest, which the step after the last one would have.
        warmup_steps: Steps from 0 to `learning_rate`.
        weight_decay: Of matrices in trunks.
        projection_weight_decay: Of the towers' projections. Vectors (norms, biases) and the
            temperature have none.
        beta1: Decay of the gradient's mean.
        beta2: Decay of the gradient's square.
    """

    learning_rate: Annotated[float, Gt(0)]
    min_learning_rate: Annotated[float, Ge(0)]
    warmup_steps: Annotated[int, Ge(0)]
    weight_decay: Annotated[float, Ge(0)]
    projection_weight_decay: Annotated[float, Ge(0)]
    beta1: Annotated[float, Ge(0), Lt(1)]
    beta2: Annotated[float, Ge(0), Lt(1)]
    optimizer: Literal["adamw", "lamb"] = "adamw"
    decay: Literal["cosine", "linear"] = "cosine"


def build_optimizer(modules: nn.Module, optimization: Optimization) -> torch.optim.Optimizer:
    """Build the optimiser over every parameter that is trained, in groups by weight decay.

    LAMB rescales the steps of matrices by their norms, and those of vectors not.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            decay = _weight_decay_of(name, parameter, optimization)
            groups.setdefault((decay, parameter.ndim > 1), []).append(parameter)
    grouped = [
        {"params": members, "weight_decay": decay, "always_adapt": is_matrix}
        for (decay, is_matrix), members in groups.items()
    ]
    rate, betas = optimization.learning_rate, (optimization.beta1, optimization.beta2)
    if optimization.optimizer == "lamb":
        from timm.optim.lamb import Lamb

        # Its default clips gradients to a norm of 1.
        return Lamb(grouped, lr=rate, betas=betas, max_grad_norm=None)
    return torch.optim.AdamW(grouped, lr=rate, betas=betas, fused=True)


def learning_rate_at(step: int, optimization: Optimization, *, num_steps: int) -> float:
    """Learning rate of step `step`, counted from 0."""
    peak, floor = optimization.learning_rate, optimization.min_learning_rate
    if step < optimization.warmup_steps:
        return peak * step / optimization.warmup_steps
    done = (step - optimization.warmup_steps) / max(1, num_steps - optimization.warmup_steps)
    done = min(1.0, done)
    left = 1 - done if optimization.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return floor + (peak - floor) * left


def _weight_decay_of(name: str, parameter: nn.Parameter, optimization: Optimization) -> float:
    if parameter.ndim < 2:
        return 0.0
    if "tower.projection." in name:
        return optimization.projection_weight_decay
    return optimization.weight_decay
