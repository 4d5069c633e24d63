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
import statistics
import time
from typing import Any

import cells
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.framework.startup import bootstrap_project
from known_truth import right_uids

from vl_pipeline.data.atomic import write_json

CURATED = "data/05_model_input/{method}/curated_pairs.parquet"


def main() -> None:
    arguments = parse_arguments()
    bootstrap_project(cells.PROJECT)
    results = cells.read_results(arguments.out)
    settings = settings_of(arguments)
    done = {(r["task"], r["method"], r["seed"], r["steps"], r["settings"]) for r in results}
    for task in arguments.task:
        wanted = [
            (method, seed)
            for seed in arguments.seed
            for method in arguments.method
            if (task, method, seed, arguments.steps, settings) not in done
        ]
        for number, (method, seed) in enumerate(wanted):
            nodes = [f"{method}.curate"] if number else None
            results.append(run_cell(arguments, task, method, seed, from_nodes=nodes))
            write_json(arguments.out, results)
    print_table(results)


def parse_arguments() -> argparse.Namespace:
    parser = cells.cell_parser(__doc__)
    parser.add_argument("--method", nargs="+", default=["cit", "clip", "random"])
    parser.add_argument("--known", choices=["pairs", "captions"])
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
    parameters = cells.parameters_for(arguments, curate_for=[task], evaluate_on=[task])
    parameters |= {
        "training": {"seed": seed, "num_steps": arguments.steps},
        "random": {"curation": {"seed": seed}},
    }
    cells.assign(parameters, arguments.set)
    started = time.monotonic()
    if arguments.known:
        cells.run(method, parameters, from_nodes=from_nodes or [], to_nodes=[f"{method}.curate"])
        right = right_uids(pq.read_table(cells.POOL), arguments.truth, task, arguments.known)
        cells.keep_only(cells.PROJECT / CURATED.format(method=method), pa.array(sorted(right)))
        from_nodes = [f"{method}.train"]
    cells.run(method, parameters, from_nodes=from_nodes or [])
    seconds = time.monotonic() - started
    cell = {"task": task, "method": method, "seed": seed, "steps": arguments.steps}
    cell |= {"settings": settings_of(arguments)}
    return cell | {
        "seconds": seconds,
        "training": cells.read_report(method, "training"),
        "metrics": cells.read_report(method, "metrics")[task],
    }


def settings_of(arguments: argparse.Namespace) -> str:
    """What sets these cells apart from others of their method."""
    known = [f"known {arguments.known}"] if arguments.known else []
    return " ".join([*known, *arguments.set])


def print_table(results: list[dict[str, Any]]) -> None:
    """Print mean and deviation over seeds, a row per task, length, method and settings."""
    print("| task | method | pairs seen | different pairs | top-1 % | top-5 % | chance % | seeds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for result in results:
        method = f"{result['method']} {result['settings']}".strip()
        groups.setdefault((result["task"], result["steps"], method), []).append(result)
    for (task, _, method), group in groups.items():
        pairs = group[0]["training"]["pairs_seen"]
        unique = statistics.mean(r["training"]["num_unique_pairs"] for r in group)
        chance = 100 * group[0]["metrics"]["chance"]
        metrics = [result["metrics"] for result in group]
        tops = [cells.spread(metrics, f"zero_shot_top{k}") for k in (1, 5)]
        print(f"| {task} | {method} | {pairs:,} | {unique:,.0f} | {' | '.join(tops)} ", end="")
        print(f"| {chance:.1f} | {len(group)} |")


if __name__ == "__main__":
    main()
