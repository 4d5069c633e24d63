"""Evaluate a checkpoint on the configured split of each task."""

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.tasks import Tasks
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.evaluation.run import (
    Evaluation,
    draw_evaluation,
    evaluate_checkpoint,
    join_per_class,
)
from vl_pipeline.models.device import choose_device


def evaluate(
    checkpoint: Path, tasks: Tasks, evaluation: Evaluation
) -> tuple[dict[str, Any], pa.Table, Writer]:
    """Give the metrics by task, the per-class table, and figures."""
    results = evaluate_checkpoint(checkpoint, tasks, evaluation, device=choose_device())
    metrics = {result.name: result.metrics for result in results}
    return metrics, join_per_class(results), partial(draw_evaluation, results=results)
