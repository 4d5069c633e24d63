"""A start for text towers without pretrained weights: unsupervised SimCSE on the pool's captions.

CiT compares captions with target texts from its first step on, so its text tower must know
something then; the paper's comes from SimCSE. Each caption is encoded twice with different
dropout; the two are positives of each other and the batch's other captions are negatives. The
dropout is the only difference between the two, so nothing but the captions is needed.

Source: Gao, Yao, Chen, SimCSE (arXiv 2104.08821), section 3.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, cast

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import Tensor, nn
from tqdm import tqdm

from vl_pipeline.data.tokens import Tokens
from vl_pipeline.errors import TrainingError
from vl_pipeline.models.device import keep_freed_memory
from vl_pipeline.models.dual_encoder import DualEncoder, unit
from vl_pipeline.models.text_encoders import dropout_of
from vl_pipeline.objectives.info_nce import info_nce

_BATCHES_SORTED_TOGETHER = 16


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SimCse:
    """How a text trunk without pretrained weights is started.

    Attributes:
        num_steps: Optimiser steps; 0 keeps random weights.
        batch_size: Captions per step; each has batch_size - 1 negatives.
        learning_rate: Of AdamW, after a linear warm-up over the first tenth of the steps.
        temperature: Cosine similarities are divided by it.
        dropout: Chance that a unit is dropped, in the embedding and in each block.
        seed: Of weights, batches and dropout.
    """

    num_steps: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(2)]
    learning_rate: Annotated[float, Gt(0)]
    temperature: Annotated[float, Gt(0)]
    dropout: Annotated[float, Gt(0), Lt(1)]
    seed: int


def train_simcse(
    model: DualEncoder, tokens: Tokens, simcse: SimCse, *, device: torch.device
) -> list[float]:
    """Train the text trunk of `model` on captions alone; in place.

    Returns:
        The loss of each step, in nats; log(batch_size) for a trunk that cannot tell texts apart.

    Raises:
        TrainingError: If the loss is not finite.
    """
    trunk = model.text_tower.trunk
    optimizer = torch.optim.AdamW(
        trunk.parameters(), lr=simcse.learning_rate, weight_decay=0.0, fused=True
    )
    warmup = max(1, simcse.num_steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / warmup))
    model.train()
    if device.type == "cpu":
        keep_freed_memory()
    losses: list[float] = []
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _dropout_in(trunk, simcse.dropout):
        torch.manual_seed(simcse.seed)
        steps = tqdm(range(simcse.num_steps), desc="SimCSE", unit="step", disable=None)
        for _, rows in zip(steps, _batches(tokens.lengths, simcse), strict=False):
            padded = torch.from_numpy(tokens.padded(rows)).to(device)
            first, second = unit(model.text_features(torch.cat([padded, padded]))).chunk(2)
            loss = info_nce(first, second, temperature=simcse.temperature)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"SimCSE's loss is {loss.item()} at step {len(losses)}; lower "
                    f"text_start.learning_rate (now {simcse.learning_rate})"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses


def _batches(lengths: np.ndarray, simcse: SimCse) -> Iterator[np.ndarray]:
    """Yield batches without end, each of texts of similar length.

    Padding is saved, and length does not give a negative away.
    """
    draw = np.random.default_rng(simcse.seed)
    size = min(simcse.batch_size, len(lengths))
    while True:
        shuffled = draw.permutation(len(lengths))
        for start in range(0, len(shuffled) - size + 1, size * _BATCHES_SORTED_TOGETHER):
            part = shuffled[start : start + size * _BATCHES_SORTED_TOGETHER]
            part = part[np.argsort(lengths[part], kind="stable")]
            starts = range(0, len(part) - size + 1, size)
            yield from (part[starts[b] : starts[b] + size] for b in draw.permutation(len(starts)))


@contextmanager
def _dropout_in(trunk: nn.Module, chance: float) -> Iterator[None]:
    """open_clip's text transformers have no dropout; this adds it where BERT has it."""
    from open_clip.hf_model import HFTextEncoder
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    if isinstance(trunk, HFTextEncoder):
        with dropout_of(trunk, chance):
            yield
        return
    assert isinstance(trunk, TextTransformer)
    blocks = cast(Iterable[ResidualAttentionBlock], trunk.transformer.resblocks)
    places = [trunk.token_embedding, *(m for b in blocks for m in (b.ls_1, b.ls_2))]

    def drop(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return nn.functional.dropout(output, chance, training=True)

    handles = [place.register_forward_hook(drop) for place in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
