"""ALIGN's rules, each alone and all together, and what noise costs, on one pool.

    python benchmarks/align_rules.py --pool FOLDER --tasks FOLDER --task NAME [--task NAME]
        [--truth FILE] [--seed 0 1 2] [--steps 300] [--rows rules noise] [--set PARAMETER=VALUE]
        --out RESULTS.json [--figure NOISE.png]

`rules`: rows without rules, with each rule alone, and with all of `align.curation.rules`.
`noise`: the paper's question (its table 10): as many pairs drawn from the pool as it comes, twice
and four times as many, against as many that are clean by the truth file, whose column
`caption_matches_image` says so. The clean set is half of the pool's clean pairs, or fewer where the
pool does not hold four times as many. Rules are off in these rows.

All rows see equally many pairs: steps and batches are those of `align.training`. Each cell is a run
of the project's own pipeline and an MLflow run; cells that are in the result file are not run
again, nor is what has been trained on the same pairs with the same seed: a rule that drops nothing
leaves what `no rules` has. Tables and the figure of `noise` are made from the file.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from vl_pipeline.curation.draws import uniform_draws
from vl_pipeline.data.atomic import write_json, write_table
from vl_pipeline.data.digest import digest_of_strings

PROJECT = Path(__file__).parents[1]
REPORTS = PROJECT / "data/08_reporting/align"
POOL = PROJECT / "data/03_primary/pool.parquet"
CURATED = PROJECT / "data/05_model_input/align/curated_pairs.parquet"
PARAMETERS = PROJECT / "conf/base/parameters_align.yml"
METRICS = ("zero_shot_top1", "knn_top1", "image_to_text_recall_at_1", "text_to_image_recall_at_1")
NOISE = {"clean 1x": 1, "noisy 1x": 1, "noisy 2x": 2, "noisy 4x": 4}


def main() -> None:
    arguments = parse_arguments()
    bootstrap_project(PROJECT)
    out: Path = arguments.out
    results: list[dict[str, Any]] = json.loads(out.read_text()) if out.exists() else []
    settings = " ".join(arguments.set)
    done = {(r["row"], r["seed"], r["steps"], r["settings"]) for r in results}
    names = list(yaml.safe_load(PARAMETERS.read_text())["align"]["curation"]["rules"])
    rows = {"no rules": [], **{name: [name] for name in names}, "all rules": names}
    wanted = list(rows) if "rules" in arguments.rows else []
    wanted += list(NOISE) if "noise" in arguments.rows else []
    is_first = True
    for seed in arguments.seed:
        for row in wanted:
            if (row, seed, arguments.steps, settings) in done:
                continue
            off = [name for name in names if name not in rows.get(row, [])]
            cell = run_cell(arguments, row, seed, results, off=off, is_first=is_first)
            is_first = False
            results.append(cell | {"settings": settings})
            write_json(out, results)
    print_table(results)
    if arguments.figure:
        draw_noise(results, arguments.figure)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--task", action="append", required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rows", nargs="+", choices=["rules", "noise"], default=["rules"])
    parser.add_argument("--set", action="append", default=[], help="parameter=value")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="where the figure of noise goes")
    arguments = parser.parse_args()
    if "noise" in arguments.rows and arguments.truth is None:
        parser.error("--rows noise needs --truth, which says what is clean")
    return arguments


def run_cell(
    arguments: argparse.Namespace,
    row: str,
    seed: int,
    results: list[dict[str, Any]],
    *,
    off: list[str],
    is_first: bool,
) -> dict[str, Any]:
    """Run one row with one seed, and read what it reported."""
    parameters = parameters_of(arguments, seed, off)
    started = time.monotonic()
    run(parameters, from_nodes=[] if is_first else ["align.curate"], to_nodes=["align.curate"])
    if row in NOISE:
        narrow(row, arguments.truth, seed=seed)
    cell = {
        "row": row,
        "seed": seed,
        "steps": arguments.steps,
        "curation": json.loads((REPORTS / "curation.json").read_text()),
        "num_curated": pq.read_metadata(CURATED).num_rows,
        "uids": digest_of_strings(pq.read_table(CURATED)["uid"].to_pylist()),
    }
    known = ("seed", "steps", "uids")
    for other in results:
        if other["settings"] == " ".join(arguments.set) and all(other[k] == cell[k] for k in known):
            return other | cell | {"seconds": 0.0}
    run(parameters, from_nodes=["align.train"])
    return cell | {
        "seconds": time.monotonic() - started,
        "training": json.loads((REPORTS / "training.json").read_text()),
        "metrics": json.loads((REPORTS / "metrics.json").read_text()),
    }


def parameters_of(arguments: argparse.Namespace, seed: int, off: list[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "pool": {"folder": str(arguments.pool.resolve())},
        "tasks": {
            "folder": str(arguments.tasks.resolve()),
            "curate_for": [task for task in arguments.task if has_classes(arguments.tasks / task)],
            "evaluate_on": arguments.task,
        },
        "evaluation": {"knn": {"labelled_split": "val", "num_voters": 1, "temperature": None}},
        "align": {"training": {"seed": seed, "num_steps": arguments.steps}},
        "report": {"truth": None},
    }
    for assignment in arguments.set:
        key, _, value = assignment.partition("=")
        set_nested(parameters, key.split("."), yaml.safe_load(value))
    for name in off:  # after what was set: a rule that is off has no settings
        set_nested(parameters, ["align", "curation", "rules", name], None)
    return parameters


def run(parameters: dict[str, Any], **which: list[str]) -> None:
    with KedroSession.create(project_path=PROJECT, runtime_params=parameters) as session:
        session.run(pipeline_names=["align"], **which)


def has_classes(task: Path) -> bool:
    return (task / "classnames.txt").exists()


def narrow(row: str, truth: Path, *, seed: int) -> None:
    """Leave in the manifest a draw of clean pairs, or of 1, 2 or 4 times as many of all; in place.

    The draws are nested: what is in `noisy 1x` is in `noisy 2x`.
    """
    known = pq.read_table(truth, columns=["key", "caption_matches_image"])
    pool = pq.read_table(POOL, columns=["uid", "key"])
    places = pc.index_in(pool["key"], value_set=known["key"].combine_chunks())
    if places.null_count:
        raise SystemExit(f"{truth} does not know {places.null_count} pairs of the pool")
    is_clean = known["caption_matches_image"].take(places).to_numpy()
    order = np.argsort(uniform_draws(pool["uid"].to_pylist(), seed=seed))
    size = min(int(is_clean.sum()) // 2, pool.num_rows // max(NOISE.values()))
    of_row = order[is_clean[order]] if row.startswith("clean") else order
    uids = pool["uid"].take(pa.array(of_row[: size * NOISE[row]])).combine_chunks()
    manifest = pq.read_table(CURATED)
    write_table(CURATED, manifest.filter(pc.is_in(manifest["uid"], value_set=uids)))


def set_nested(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested value; in place."""
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def print_table(results: list[dict[str, Any]]) -> None:
    """Print mean and deviation over seeds: a line per task, and a row per length and settings."""
    print("| task | row | pairs kept | pairs seen | " + " | ".join(METRICS) + " | seeds |")
    print("| --- | --- | --- | --- |" + " --- |" * (len(METRICS) + 1))
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for result in results:
        key = (result["row"], result["steps"], result["settings"])
        groups.setdefault(key, []).append(result)
    for task in dict.fromkeys(task for result in results for task in result["metrics"]):
        for (row, _, settings), group in groups.items():
            kept = statistics.mean(result["num_curated"] for result in group)
            seen = group[0]["training"]["pairs_seen"]
            found = [spread([r["metrics"][task] for r in group], metric) for metric in METRICS]
            name = f"{row} {settings}".strip()
            print(f"| {task} | {name} | {kept:,.0f} | {seen:,} | " + " | ".join(found), end="")
            print(f" | {len(group)} |")


def spread(metrics: list[dict[str, float]], name: str) -> str:
    """Mean and standard deviation in percent; a dash where the task has no such metric."""
    values = [100 * metric[name] for metric in metrics if name in metric]
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f} ± {deviation:.1f}"


def draw_noise(results: list[dict[str, Any]], file: Path) -> None:
    """Draw accuracy against how much of the noisy pool there is, with clean pairs as a level."""
    tasks = [t for t, m in results[0]["metrics"].items() if "zero_shot_top1" in m]
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.2), layout="tight")
    for axis, task in zip(np.atleast_1d(axes), tasks, strict=True):
        found = {
            row: [100 * r["metrics"][task]["zero_shot_top1"] for r in results if r["row"] == row]
            for row in NOISE
        }
        noisy = [row for row in NOISE if row.startswith("noisy")]
        means, spreads = zip(*(mean_and_deviation(found[row]) for row in noisy), strict=True)
        sizes = [NOISE[row] for row in noisy]
        axis.errorbar(sizes, means, yerr=spreads, marker="o", capsize=3, label="noisy, as it comes")
        mean, deviation = mean_and_deviation(found["clean 1x"])
        axis.axhline(mean, color="tab:green", linestyle="--", label="clean, 1x")
        axis.axhspan(mean - deviation, mean + deviation, color="tab:green", alpha=0.15)
        axis.set(xscale="log", xlabel="pairs in the set", ylabel="zero-shot top-1 %", title=task)
        axis.set_xticks(sizes, [f"{size}x" for size in sizes], minor=False)
        axis.minorticks_off()
        axis.legend()
    figure.savefig(file, dpi=110)


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
