"""What a finished run says: what was kept, why the rest was not, and what it was good for."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from vl_pipeline.datasets.files import dataset_named
from vl_pipeline.errors import ParameterError

logger = logging.getLogger(__name__)

REPORTS = ("summary", "truth_report")
"""Data sets of a method that no node makes: a session that evaluates ends with them."""


_TRUTH = ("key", "caption", "relevant", "caption_matches_image")


class SummaryHooks:
    """Writes and prints a summary when a method's evaluation is done."""

    def __init__(self) -> None:
        self._truth: Path | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the truth about the pool lies, if it is known.

        Raises:
            ParameterError: If a file lies there that is no truth about pairs.
        """
        truth = context.config_loader["parameters"]["report"]["truth"]
        self._truth = Path(truth) if truth else None
        if self._truth is not None and self._truth.exists():
            _require_truth(self._truth)

    @hook_impl(tryfirst=True)  # before tracking, which logs what is written here
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Summarise each method that was evaluated in this session."""
        for node in pipeline.nodes:
            method, _, stage = node.name.rpartition(".")
            if stage == "evaluate" and self._is_all_there(method, catalog):
                truth = self._hold_against_truth(method, catalog)
                catalog.save(f"{method}.truth_report", truth)
                text = "\n".join(summarize(method, catalog, truth))
                catalog.save(f"{method}.summary", f"# {method}\n\n```\n{text}\n```\n")
                logger.info("\n# %s\n\n%s\n", method, text)

    def _is_all_there(self, method: str, catalog: CatalogProtocol) -> bool:
        """Ask for what a summary is made from: evaluation itself needs none of it."""
        names = ("validation_summary", f"{method}.training_report", f"{method}.trained_pairs")
        paths = [dataset_named(catalog, name).path for name in names]
        missing = [str(_shown(path)) for path in paths if not path.exists()]
        if missing:
            logger.warning("no summary of %s: there is no %s", method, ", ".join(missing))
        return not missing

    def _hold_against_truth(self, method: str, catalog: CatalogProtocol) -> dict[str, float]:
        if self._truth is None or not self._truth.exists():
            return {}
        trained = catalog.load(f"{method}.trained_pairs")
        return truth_about(catalog.load("pool"), trained, self._truth)


def summarize(method: str, catalog: CatalogProtocol, truth: dict[str, float]) -> list[str]:
    """Say in columns what a method's run did; `truth` is empty where it is not known."""
    validation = catalog.load("validation_summary")
    training = catalog.load(f"{method}.training_report")
    return [
        *_account_lines(validation, training),
        *(_truth_lines(truth) if truth else []),
        "",
        *_metric_lines(catalog.load(f"{method}.metrics")),
        "",
        f"checkpoint  {_shown(dataset_named(catalog, f'{method}.checkpoint').path)}",
        f"figures     {_shown(dataset_named(catalog, f'{method}.curation_figures').path.parent)}",
        "compare     make ui    (MLflow on http://127.0.0.1:5000)",
    ]


def truth_about(pool: pa.Table, pairs: pa.Table, truth: Path) -> dict[str, float]:
    """Hold the pairs a method trained on against the truth about the pool.

    A pair is wanted if its image shows a class of the task and its caption matches the image.

    Returns:
        `precision` and `recall` of the distinct pairs trained on, and the pool's
        `wanted_fraction`; nothing where the truth is about
        another pool, or there is nothing to count.
    """
    known = pq.read_table(truth, columns=list(_TRUTH))
    places = pc.index_in(pool["key"], value_set=known["key"].combine_chunks())
    if places.null_count:
        return {}
    known = known.take(places)
    captions = pc.utf8_trim_whitespace(known["caption"])
    if not pc.all(pc.fill_null(pc.equal(captions, pool["caption"]), False)).as_py():
        return {}
    wanted = pc.and_(known["relevant"], known["caption_matches_image"]).to_numpy()
    kept = pc.is_in(pool["uid"], value_set=pairs["uid"].combine_chunks()).to_numpy()
    if not kept.any() or not wanted.any():
        return {}
    return {
        "precision": float(wanted[kept].mean()),
        "recall": float(kept[wanted].mean()),
        "wanted_fraction": float(wanted.mean()),
    }


def _require_truth(file: Path) -> None:
    try:
        missing = sorted({*_TRUTH} - {*pq.read_schema(file).names})
    except (OSError, pa.ArrowException) as error:
        raise ParameterError(
            f"report.truth is {file}, which cannot be read as Parquet ({error}); correct it, or "
            f"set it to null (conf/base/parameters_report.yml)"
        ) from error
    if missing:
        raise ParameterError(
            f"report.truth is {file}, which has no column {', '.join(missing)}; correct it, or set "
            f"it to null (conf/base/parameters_report.yml)"
        )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _account_lines(validation: dict[str, Any], training: dict[str, Any]) -> list[str]:
    dropped = ", ".join(f"{count} {rule}" for rule, count in validation["rejected"].items())
    return [
        f"pool        {validation['num_kept']} of {validation['num_listed']} pairs kept "
        f"(dropped: {dropped or 'none'})",
        f"training    {training['pairs_seen']} pairs seen, {training['num_unique_pairs']} "
        f"different ones ({training['unique_fraction']:.1%} of the pool)",
    ]


def _truth_lines(truth: dict[str, float]) -> list[str]:
    return [
        f"truth       {truth['precision']:.1%} of these show a class of the task and match their "
        f"caption (pool: {truth['wanted_fraction']:.1%}); they are {truth['recall']:.1%} of all "
        f"such pairs"
    ]


def _metric_lines(metrics: dict[str, dict[str, float]]) -> list[str]:
    lines = []
    for task, values in metrics.items():
        if "zero_shot_top1" in values:
            lines.append(
                f"{task:<20} zero-shot top-1 {values['zero_shot_top1']:.1%}, top-5 "
                f"{values['zero_shot_top5']:.1%} (chance {values['chance']:.1%}, "
                f"{values['num_images']} images)"
            )
        else:
            lines.append(
                f"{task:<20} recall at 1 / 5 / 10: image to text "
                + " / ".join(f"{values[f'image_to_text_recall_at_{k}']:.1%}" for k in (1, 5, 10))
                + ", text to image "
                + " / ".join(f"{values[f'text_to_image_recall_at_{k}']:.1%}" for k in (1, 5, 10))
                + f" ({values['num_images']} images)"
            )
    return lines
