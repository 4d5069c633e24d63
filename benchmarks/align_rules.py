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
import statistics
import time
from pathlib import Path
from typing import Any

import cells
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kedro.framework.startup import bootstrap_project
from parameters import parameters

from vl_pipeline.curation.draws import uniform_draws
from vl_pipeline.data.atomic import write_json
from vl_pipeline.data.digest import digest_of_strings

CURATED = cells.PROJECT / "data/05_model_input/align/curated_pairs.parquet"
METRICS = ("zero_shot_top1", "knn_top1", "image_to_text_recall_at_1", "text_to_image_recall_at_1")
NOISE = {"clean 1x": 1, "noisy 1x": 1, "noisy 2x": 2, "noisy 4x": 4}


def main() -> None:
    arguments = parse_arguments()
    bootstrap_project(cells.PROJECT)
    results = cells.read_results(arguments.out)
    settings = " ".join(arguments.set)
    done = {(r["row"], r["seed"], r["steps"], r["settings"]) for r in results}
    names = list(parameters("align")["align"]["curation"]["rules"])
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
            write_json(arguments.out, results)
    print_table(results)
    if arguments.figure:
        draw_noise(results, arguments.figure)


def parse_arguments() -> argparse.Namespace:
    parser = cells.cell_parser(__doc__)
    parser.add_argument("--rows", nargs="+", choices=["rules", "noise"], default=["rules"])
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
    first = [] if is_first else ["align.curate"]
    cells.run("align", parameters, from_nodes=first, to_nodes=["align.curate"])
    if row in NOISE:
        narrow(row, arguments.truth, seed=seed)
    cell = {
        "row": row,
        "seed": seed,
        "steps": arguments.steps,
        "curation": cells.read_report("align", "curation"),
        "num_curated": pq.read_metadata(CURATED).num_rows,
        "uids": digest_of_strings(pq.read_table(CURATED)["uid"].to_pylist()),
    }
    known = ("seed", "steps", "uids")
    for other in results:
        if other["settings"] == " ".join(arguments.set) and all(other[k] == cell[k] for k in known):
            return other | cell | {"seconds": 0.0}
    cells.run("align", parameters, from_nodes=["align.train"])
    return cell | {
        "seconds": time.monotonic() - started,
        "training": cells.read_report("align", "training"),
        "metrics": cells.read_report("align", "metrics"),
    }


def parameters_of(arguments: argparse.Namespace, seed: int, off: list[str]) -> dict[str, Any]:
    tasks = arguments.task
    with_classes = [task for task in tasks if has_classes(arguments.tasks / task)]
    parameters = cells.parameters_for(arguments, curate_for=with_classes, evaluate_on=tasks)
    parameters |= {
        "evaluation": {"knn": {"labelled_split": "val", "num_voters": 1, "temperature": None}},
        "align": {"training": {"seed": seed, "num_steps": arguments.steps}},
    }
    cells.assign(parameters, arguments.set)
    # After what was set: a rule that is off has no settings.
    cells.assign(parameters, [f"align.curation.rules.{name}=null" for name in off])
    return parameters


def has_classes(task: Path) -> bool:
    return (task / "classnames.txt").exists()


def narrow(row: str, truth: Path, *, seed: int) -> None:
    """Leave in the manifest a draw of clean pairs, or of 1, 2 or 4 times as many of all; in place.

    The draws are nested: what is in `noisy 1x` is in `noisy 2x`.
    """
    known = pq.read_table(truth, columns=["key", "caption_matches_image"])
    pool = pq.read_table(cells.POOL, columns=["uid", "key"])
    places = pc.index_in(pool["key"], value_set=known["key"].combine_chunks())
    if places.null_count:
        raise SystemExit(f"{truth} does not know {places.null_count} pairs of the pool")
    is_clean = known["caption_matches_image"].take(places).to_numpy()
    order = np.argsort(uniform_draws(pool["uid"].to_pylist(), seed=seed))
    size = min(int(is_clean.sum()) // 2, pool.num_rows // max(NOISE.values()))
    of_row = order[is_clean[order]] if row.startswith("clean") else order
    uids = pool["uid"].take(pa.array(of_row[: size * NOISE[row]])).combine_chunks()
    cells.keep_only(CURATED, uids)


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
            metrics = [result["metrics"][task] for result in group]
            found = [cells.spread(metrics, name) for name in METRICS]
            name = f"{row} {settings}".strip()
            print(f"| {task} | {name} | {kept:,.0f} | {seen:,} | " + " | ".join(found), end="")
            print(f" | {len(group)} |")


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
        means, spreads = zip(*(cells.mean_and_deviation(found[row]) for row in noisy), strict=True)
        sizes = [NOISE[row] for row in noisy]
        axis.errorbar(sizes, means, yerr=spreads, marker="o", capsize=3, label="noisy, as it comes")
        mean, deviation = cells.mean_and_deviation(found["clean 1x"])
        axis.axhline(mean, color="tab:green", linestyle="--", label="clean, 1x")
        axis.axhspan(mean - deviation, mean + deviation, color="tab:green", alpha=0.15)
        axis.set(xscale="log", xlabel="pairs in the set", ylabel="zero-shot top-1 %", title=task)
        axis.set_xticks(sizes, [f"{size}x" for size in sizes], minor=False)
        axis.minorticks_off()
        axis.legend()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
