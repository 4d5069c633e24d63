"""Run a sweep's cells one after the other, and keep what each came to.

A finished cell is one file under a digest of everything it depends on, so a sweep that is started
again runs what is missing, and a cell that was cut short goes on from its last checkpoint.
Models are not kept: with its value chosen, a strategy is a method to be run.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vl_pipeline.curation.manifest import manifest_of
from vl_pipeline.curation.offline import curate_offline
from vl_pipeline.curation.report import curation_report
from vl_pipeline.data.atomic import write_json
from vl_pipeline.data.digest import digest_of_code, digest_of_value
from vl_pipeline.data.pool import digest_of_pool
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.errors import CurationError, TrainingError
from vl_pipeline.evaluation.run import Evaluation, evaluate_model
from vl_pipeline.evaluation.validation import validation_of
from vl_pipeline.models.towers import digest_of_sources
from vl_pipeline.sweep.plan import Cell
from vl_pipeline.training.data import TrainingData
from vl_pipeline.training.report import training_report
from vl_pipeline.training.run import COST_ONLY, Recipe, Trained, train_recipe
from vl_pipeline.training.validated import digests_of_validated

Result = dict[str, Any]
"""One cell: `strategy`, `method`, `value`, `seed`, `key`, its `parameters` by block, and what came
of it: `curation`, `training`, `history`, `rounds`, `validation`, `metrics` by task, `seconds`; or
the `error` of one that could not be trained: too little was left, or the loss was not finite."""

Train = Callable[[TrainingData, Recipe], Trained]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all cells share.

    Attributes:
        data: The pool and what the embed stage made of it; its `curated` is each cell's own.
        tasks: What is evaluated.
        evaluation: On which split.
        device: Where.
    """

    data: TrainingData
    tasks: Tasks
    evaluation: Evaluation
    device: torch.device


def run_cells(cells: list[Cell], bench: Bench, *, scratch: Path) -> list[Result]:
    """Run what is not finished yet, and give every cell's result in order.

    Args:
        cells: What to run.
        bench: What they share.
        scratch: Folder for finished cells, by key, and for the one in progress.
    """
    train = partial(
        train_recipe,
        device=bench.device,
        scratch=scratch / "training",
        validate=_validation(bench, cells[0]),
        validated=digests_of_validated(bench.tasks),
    )
    results: list[Result] = []
    bar = tqdm(cells, desc="sweep", unit="cell", disable=None)
    for cell in bar:
        bar.set_postfix_str(f"{cell.strategy} {cell.value or ''} seed {cell.seed}")
        key = key_of(cell, bench)
        place = scratch / "cells" / f"{key}.json"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, _result_of(cell, bench, train))
        named = {"key": key, "strategy": cell.strategy, "value": cell.value, "seed": cell.seed}
        results.append(named | json.loads(place.read_text()))
    return results


def _result_of(cell: Cell, bench: Bench, train: Train) -> Result:
    """Run a cell. One that keeps too few pairs or diverges is a result, and not the sweep's end."""
    about = {"method": cell.recipe.name, "parameters": cell.blocks}
    try:
        return about | _run_cell(cell, bench, train)
    except (CurationError, TrainingError) as error:
        return about | {"error": str(error)}


def key_of(cell: Cell, bench: Bench) -> str:
    """Digest of everything a cell's result depends on; what only costs time is left out."""
    blocks = {name: _without_cost(block) for name, block in cell.blocks.items()}
    return digest_of_value(
        {
            "method": cell.recipe.name,
            "frozen": cell.recipe.frozen,
            "blocks": blocks,
            "weights_files": digest_of_sources(cell.recipe.model),
            "tasks": asdict(bench.tasks),
            "evaluation": _without_cost(asdict(bench.evaluation)),
            "pool": digest_of_pool(bench.data.pool),
            "pair_scorer": bench.data.pair_scores.scorer_digest if bench.data.pair_scores else None,
            "text_start": bench.data.embeddings.encoder_digest,
            "target_texts": bench.data.embeddings.target_texts,
            "code": digest_of_code(),
            "device": bench.device.type,
        }
    )


def _without_cost(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in COST_ONLY}


def _run_cell(cell: Cell, bench: Bench, train: Train) -> Result:
    recipe, texts = cell.recipe, bench.data.embeddings.target_texts
    selection = curate_offline(
        recipe.curator, bench.data.pool, bench.data.embeddings, bench.data.pair_scores
    )
    manifest = manifest_of(selection, pool=bench.data.pool, target_texts=texts, round_index=0)
    curation, _ = curation_report(selection, manifest, target_texts=texts)
    data = replace(bench.data, curated=manifest)
    trained = train(data, recipe)
    evaluated = evaluate_model(
        trained.model, data.tokenizer, bench.tasks, bench.evaluation, device=bench.device
    )
    result = {
        "curation": curation,
        "training": training_report(trained, data),
        "history": trained.progress.history,
        "rounds": trained.progress.rounds,
        "validation": trained.progress.validation,
        "metrics": {task.name: task.metrics for task in evaluated},
        "seconds": trained.progress.seconds,
    }
    shutil.rmtree(trained.scratch)
    return result


def _validation(bench: Bench, cell: Cell) -> Callable[..., dict[str, float]] | None:
    return validation_of(
        bench.tasks,
        tokenizer=bench.data.tokenizer,
        device=bench.device,
        batch_size=bench.evaluation.batch_size,
        num_threads=cell.recipe.training.num_threads,
    )
