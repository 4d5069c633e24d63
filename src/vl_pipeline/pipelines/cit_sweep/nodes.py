"""Compare thresholds, strategies and seeds under one budget of pairs seen."""

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.shards import PoolShards
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.evaluation.run import Evaluation
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.sweep.figures import draw_sweep
from vl_pipeline.sweep.plan import Sweep, blocks_of, plan_cells
from vl_pipeline.sweep.report import summary_metrics, write_csv, write_report
from vl_pipeline.sweep.run import Bench, Result, run_cells
from vl_pipeline.sweep.table import rows_of
from vl_pipeline.training.data import read_training_data
from vl_pipeline.training.loop import Training


def run(
    pool: pa.Table,
    tokens: Path,
    text_start: Path,
    embeddings: Path,
    shards: PoolShards,
    tasks: Tasks,
    model: DualEncoderConfig,
    training: Training,
    evaluation: Evaluation,
    sweep: Sweep,
    scratch: Path,
    **blocks: Any,
) -> list[Result]:
    """Give every cell's result; `blocks` are the methods' parameters."""
    cells = plan_cells(sweep, blocks_of(blocks, model=model, training=training))
    data = read_training_data(
        pool,
        shards,
        curated=pool.slice(0, 0),
        model=model,
        tokens=tokens,
        text_start=text_start,
        embeddings=embeddings,
        pair_scores=Path(sweep.pair_scores) if sweep.pair_scores else None,
    )
    bench = Bench(data=data, tasks=tasks, evaluation=evaluation, device=choose_device())
    return run_cells(cells, bench, scratch=scratch)


def compare(
    cells: list[Result], sweep: Sweep, tasks: Tasks, evaluation: Evaluation
) -> tuple[dict[str, float], str, str, Writer]:
    """Give the parent's metrics, the table, the report, and figures."""
    rows, targets = rows_of(cells), tasks.curate_for
    report = write_report(
        rows,
        [cell for cell in cells if "error" in cell],
        targets=targets,
        reference=sweep.reference,
        split=evaluation.split,
    )
    figures = partial(draw_sweep, rows=rows, targets=targets)
    return summary_metrics(rows, targets=targets), write_csv(rows), report, figures
