"""Compare methods on one pool: same towers, same pairs seen, same evaluation, several seeds.

    python benchmarks/compare_methods.py --pool FOLDER --tasks FOLDER --task NAME [--task NAME]
        [--method cit ...] [--seed 0 1 2] [--steps 300] [--set cit.curation.threshold=0.8]
        [--known pairs | captions --truth FILE] --out RESULTS.json

Each cell is a run of the project's own pipeline and an MLflow run; cells that are in the result
file already are not run again, so an interrupted comparison goes on where it stopped. The stages
that do not depend on the method run once per task and call. Calls with other `--set` or `--steps`
add their cells to the same file. Tables are printed from the result file.

`--known` asks what a perfect choice would give: what the method's curator kept is narrowed, by the
truth, to pairs that show a class of the task and whose caption matches (`pairs`), or to those
whose caption alone says so, whatever the image shows (`captions`): the best that a curator can do
that reads no image.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from known_truth import right_uids

from vl_pipeline.data.atomic import write_json, write_table

PROJECT = Path(__file__).parents[1]
REPORTS = PROJECT / "data/08_reporting"
POOL = PROJECT / "data/03_primary/pool.parquet"
CURATED = "data/05_model_input/{method}/curated_pairs.parquet"


def main() -> None:
    arguments = parse_arguments()
    bootstrap_project(PROJECT)
    out: Path = arguments.out
    results: list[dict[str, Any]] = json.loads(out.read_text()) if out.exists() else []
    settings = settings_of(arguments)
    done = {(r["task"], r["method"], r["seed"], r["steps"], r["settings"]) for r in results}
    for task in arguments.task:
        cells = [
            (method, seed)
            for seed in arguments.seed
            for method in arguments.method
            if (task, method, seed, arguments.steps, settings) not in done
        ]
        for number, (method, seed) in enumerate(cells):
            nodes = [f"{method}.curate"] if number else None
            results.append(run_cell(arguments, task, method, seed, from_nodes=nodes))
            write_json(out, results)
    print_table(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--task", action="append", required=True)
    parser.add_argument("--method", nargs="+", default=["cit", "clip", "random"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--known", choices=["pairs", "captions"])
    parser.add_argument("--set", action="append", default=[], help="parameter=value")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def run_cell(
    arguments: argparse.Namespace,
    task: str,
    method: str,
    seed: int,
    *,
    from_nodes: list[str] | None,
) -> dict[str, Any]:
    """Run one method with one seed on one task, and read what it reported."""
    parameters: dict[str, Any] = {
        "pool": {"folder": str(arguments.pool.resolve())},
        "tasks": {
            "folder": str(arguments.tasks.resolve()),
            "curate_for": [task],
            "evaluate_on": [task],
        },
        "training": {"seed": seed, "num_steps": arguments.steps},
        "random": {"curation": {"seed": seed}},
        "report": {"truth": None},
    }
    for assignment in arguments.set:
        key, _, value = assignment.partition("=")
        set_nested(parameters, key.split("."), yaml.safe_load(value))
    started = time.monotonic()
    if arguments.known:
        run(parameters, method, from_nodes=from_nodes or [], to_nodes=[f"{method}.curate"])
        narrow(PROJECT / CURATED.format(method=method), task, arguments.truth, arguments.known)
        from_nodes = [f"{method}.train"]
    run(parameters, method, from_nodes=from_nodes or [])
    seconds = time.monotonic() - started
    training = json.loads((REPORTS / method / "training.json").read_text())
    metrics = json.loads((REPORTS / method / "metrics.json").read_text())[task]
    cell = {"task": task, "method": method, "seed": seed, "steps": arguments.steps}
    cell |= {"settings": settings_of(arguments)}
    return cell | {"seconds": seconds, "training": training, "metrics": metrics}


def run(parameters: dict[str, Any], method: str, **which: list[str]) -> None:
    with KedroSession.create(project_path=PROJECT, runtime_params=parameters) as session:
        session.run(pipeline_names=[method], **which)


def settings_of(arguments: argparse.Namespace) -> str:
    """What sets these cells apart from others of their method."""
    known = [f"known {arguments.known}"] if arguments.known else []
    return " ".join([*known, *arguments.set])


def narrow(curated: Path, task: str, truth: Path, known: str) -> None:
    """Leave in a manifest what the truth says is right for the task; in place."""
    right = right_uids(pq.read_table(POOL), truth, task, known)
    manifest = pq.read_table(curated)
    write_table(
        curated, manifest.filter(pc.is_in(manifest["uid"], value_set=pa.array(sorted(right))))
    )


def set_nested(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested value; in place."""
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def print_table(results: list[dict[str, Any]]) -> None:
    """Print mean and deviation over seeds, a row per task, length, method and settings."""
    print("| task | method | pairs seen | different pairs | top-1 % | top-5 % | chance % | seeds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    cells: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for result in results:
        method = f"{result['method']} {result['settings']}".strip()
        cells.setdefault((result["task"], result["steps"], method), []).append(result)
    for (task, _, method), group in cells.items():
        pairs = group[0]["training"]["pairs_seen"]
        unique = statistics.mean(r["training"]["num_unique_pairs"] for r in group)
        chance = 100 * group[0]["metrics"]["chance"]
        print(
            f"| {task} | {method} | {pairs:,} | {unique:,.0f} | {spread(group, 'zero_shot_top1')} "
            f"| {spread(group, 'zero_shot_top5')} | {chance:.1f} | {len(group)} |"
        )


def spread(group: list[dict[str, Any]], metric: str) -> str:
    """Mean and standard deviation in percent."""
    values = [100 * result["metrics"][metric] for result in group]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


if __name__ == "__main__":
    main()
