"""Evaluate a checkpoint on a split of tasks, and show what came of it."""

from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import torch
from annotated_types import Ge
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from tqdm import tqdm

from vl_pipeline.data.tasks import ClassificationTask, Tasks, is_retrieval, read_task
from vl_pipeline.data.tokens import Tokenizer
from vl_pipeline.errors import ParameterError
from vl_pipeline.evaluation.evaluate import TaskResult, evaluate_task
from vl_pipeline.evaluation.figures import draw_confusion
from vl_pipeline.evaluation.nearest_neighbours import NearestNeighbours
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.models.weights import load_model


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Evaluation:
    """What is evaluated, and what that may cost.

    Attributes:
        split: Of each task. Thresholds and other numbers are chosen on `val`, reported on `test`.
        batch_size: Images per forward pass.
        num_threads: Threads that load images.
        knn: Nearest neighbours among the images of a labelled split, for classification; None for
            no such metric.
    """

    split: Literal["val", "test"]
    batch_size: Annotated[int, Ge(1)]
    num_threads: Annotated[int, Ge(1)]
    knn: NearestNeighbours | None = None

    def __post_init__(self) -> None:
        if self.knn is not None and self.knn.labelled_split == self.split:
            raise ParameterError(
                f"evaluation.knn.labelled_split is '{self.split}', the split that is evaluated: "
                f"each image would find itself; name another"
            )


def evaluate_checkpoint(
    checkpoint: Path, tasks: Tasks, evaluation: Evaluation, *, device: torch.device
) -> list[TaskResult]:
    """Evaluate a checkpoint on each task of `evaluate_on`, in order."""
    model, config = load_model(checkpoint, device=device)
    return evaluate_model(model, build_tokenizer(config), tasks, evaluation, device=device)


def evaluate_model(
    model: DualEncoder,
    tokenizer: Tokenizer,
    tasks: Tasks,
    evaluation: Evaluation,
    *,
    device: torch.device,
) -> list[TaskResult]:
    """Evaluate a model on each task of `evaluate_on`, in order; leaves it in evaluation mode."""
    return [
        evaluate_task(
            read_task(Path(tasks.folder) / name, split=evaluation.split),
            model=model,
            tokenizer=tokenizer,
            device=device,
            batch_size=evaluation.batch_size,
            num_threads=evaluation.num_threads,
            labelled=_labelled(Path(tasks.folder) / name, evaluation.knn),
            knn=evaluation.knn,
        )
        for name in tqdm(tasks.evaluate_on, desc="evaluate", unit="task", disable=None)
    ]


def _labelled(folder: Path, knn: NearestNeighbours | None) -> ClassificationTask | None:
    if knn is None or is_retrieval(folder):
        return None
    task = read_task(folder, split=knn.labelled_split)
    assert isinstance(task, ClassificationTask)
    return task


def join_per_class(results: list[TaskResult]) -> pa.Table:
    """Join the per-class tables of all classification tasks, with the task's name in front."""
    tables = [
        result.per_class.add_column(0, "task", pa.array([result.name] * result.per_class.num_rows))
        for result in results
        if result.per_class is not None
    ]
    return pa.concat_tables(tables) if tables else pa.table({"task": pa.array([], pa.string())})


def draw_evaluation(folder: Path, results: list[TaskResult]) -> None:
    """Fill a folder with a confusion figure per classification task."""
    for result in results:
        if result.confusion is not None:
            path = folder / f"confusion_{result.name}.png"
            draw_confusion(result.confusion, list(result.class_names), path)
