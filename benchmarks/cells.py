"""What comparisons on one pool share: arguments, runs of the project's pipelines, and spreads."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from kedro.framework.session import KedroSession

from vl_pipeline.data.atomic import write_table

PROJECT = Path(__file__).parents[1]
POOL = PROJECT / "data/03_primary/pool.parquet"


def pool_parser(description: str | None) -> argparse.ArgumentParser:
    """Ask for a pool and tasks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--task", action="append", required=True)
    return parser


def cell_parser(description: str | None) -> argparse.ArgumentParser:
    """Ask for what a cell is made of besides, and for the file of results."""
    parser = pool_parser(description)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], help="parameter=value")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def parameters_for(
    arguments: argparse.Namespace, *, curate_for: list[str], evaluate_on: list[str]
) -> dict[str, Any]:
    folder = str(arguments.tasks.resolve())
    return {
        "pool": {"folder": str(arguments.pool.resolve())},
        "tasks": {"folder": folder, "curate_for": curate_for, "evaluate_on": evaluate_on},
        "report": {"truth": None},
    }


def assign(parameters: dict[str, Any], assignments: list[str]) -> None:
    """Set what `--set` says, `a.b=value`; in place."""
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        *path, last = key.split(".")
        values = parameters
        for part in path:
            values = values.setdefault(part, {})
        values[last] = yaml.safe_load(value)


def run(pipeline: str, parameters: dict[str, Any], **which: list[str]) -> None:
    with KedroSession.create(project_path=PROJECT, runtime_params=parameters) as session:
        session.run(pipeline_names=[pipeline], **which)  # pyright: ignore[reportCallIssue]


def keep_only(curated: Path, uids: pa.Array) -> None:
    """Leave some pairs in a manifest; in place."""
    manifest = pq.read_table(curated)
    write_table(curated, manifest.filter(pc.is_in(manifest["uid"], value_set=uids)))


def read_report(method: str, name: str) -> dict[str, Any]:
    return json.loads((PROJECT / f"data/08_reporting/{method}/{name}.json").read_text())


def read_results(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text()) if file.exists() else []


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def spread(metrics: list[dict[str, float]], name: str) -> str:
    """Mean and standard deviation in percent; a dash where the task has no such metric."""
    values = [100 * metric[name] for metric in metrics if name in metric]
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f} ± {deviation:.1f}"
