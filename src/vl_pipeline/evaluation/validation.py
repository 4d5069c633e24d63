"""Accuracy while a model is trained, on the validation split of each task that has one.

It says how many pairs an accuracy took. Nothing is chosen by it, and the test split is not read.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from vl_pipeline.data.tasks import Tasks, has_split, read_task
from vl_pipeline.data.tokens import Tokenizer
from vl_pipeline.evaluation.evaluate import evaluate_task
from vl_pipeline.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)

SPLIT = "val"
_ABOUT_THE_TASK = ("chance", "chance_recall_at_1", "num_images")  # metrics that no model changes


def validation_of(
    tasks: Tasks,
    *,
    tokenizer: Tokenizer,
    device: torch.device,
    batch_size: int,
    num_threads: int,
) -> Callable[[DualEncoder], dict[str, float]] | None:
    """Read the validation splits of `evaluate_on`, and give what measures a model on them.

    None where no task has such a split. The metrics are called `<task>_<metric>`. A model is left
    in evaluation mode.

    Raises:
        ShardError: If a split cannot be read.
    """
    folders = [Path(tasks.folder) / name for name in tasks.evaluate_on]
    held_out = [read_task(folder, split=SPLIT) for folder in folders if has_split(folder, SPLIT)]
    without = [folder.name for folder in folders if not has_split(folder, SPLIT)]
    if without:
        logger.info("no %s split, not validated during training: %s", SPLIT, ", ".join(without))
    if not held_out:
        return None

    def validate(model: DualEncoder) -> dict[str, float]:
        results = [
            evaluate_task(
                task,
                model=model,
                tokenizer=tokenizer,
                device=device,
                batch_size=batch_size,
                num_threads=num_threads,
            )
            for task in held_out
        ]
        return {
            f"{result.name}_{name}": value
            for result in results
            for name, value in result.metrics.items()
            if name not in _ABOUT_THE_TASK
        }

    return validate
