"""A training run from start to finish, beside open_clip's own trainer.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py CACHE [--steps 60] [--rounds 3]

Both train the same towers (one open_clip JSON configuration, random weights) on the same pairs (the
fabricated pool at 64 px), in batches of the same size, for the same number of steps, with AdamW and
the symmetric contrastive loss in float32, one thread of computing and one that loads:

ours:      method `clip`: `train_recipe`, from tables and tokens on disk to a written checkpoint.
open_clip: `open_clip_train` (the trainer of open_clip_torch) with one loading worker, from shards
           to its checkpoint.

Each run is a process of its own. `s a step` is the median time between the ends of steps, without
the first ten; `start to finish` is the process's whole wall time. What the stages before training
cost ours (index and tokens, made once for all runs that follow) stands in a row of its own.

open_clip's trainer wants an older webdataset. CACHE gets an environment that holds that and takes
everything else, torch and open_clip too, from the one this runs in. The pool is made there too.
"""

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import RESULTS, circumstances, shown, spread, table, take_turns, write_results

ROOT = RESULTS.parents[1]
MODEL = "resnet-tiny-64"
WARM_UP = 10  # steps
OLD_WEBDATASET = "webdataset>=0.2.5,<=0.2.86"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=20_000, help="listed in the fabricated pool")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.cache = arguments.cache.resolve()
    if arguments.part:
        PARTS[arguments.part](arguments)
        return
    started = os.getloadavg()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    environment = make_environment(arguments.cache / "open_clip_train")
    prepared = run(sys.executable, "prepare", arguments)
    variants: dict[str, Callable[[], dict]] = {
        "ours": partial(run, sys.executable, "ours", arguments),
        "open_clip": partial(run, environment, "open_clip", arguments),
    }
    turns = take_turns(variants, rounds=arguments.rounds, keep_results=True)
    report(turns, prepared, arguments, started)


def report(turns: dict, prepared: dict, arguments: argparse.Namespace, started: Any) -> None:
    rows, data = [], {"prepared": prepared}
    for name, taken in turns.items():
        runs = [turn.result for turn in taken]
        assert all(r["num_steps"] == arguments.steps and math.isfinite(r["loss"]) for r in runs)
        numbers = {
            "seconds_a_step": spread([r["seconds_a_step"] for r in runs], 4),
            "wall_seconds": spread([t.wall_seconds for t in taken], 2),
            "cpu_seconds": spread([t.cpu_seconds for t in taken], 2),
            "peak_bytes": max(r["peak_bytes"] for r in runs),
            "last_loss": runs[-1]["loss"],
        }
        data[name] = numbers
        rows.append(
            [
                name,
                *(shown(numbers[n]) for n in ("seconds_a_step", "wall_seconds", "cpu_seconds")),
                f"{numbers['peak_bytes'] / 2**20:,.0f}",
                f"{numbers['last_loss']:.3f}",
            ]
        )
    before = f"{prepared['wall_seconds']:.1f}", f"{prepared['cpu_seconds']:.1f}"
    rows.append(["ours, stages before, once", "", *before, "", ""])
    headings = ["trainer", "s a step", "s start to finish", "CPU s", "peak MiB", "last loss"]
    page = (
        table(headings, rows)
        + f"\n{arguments.steps} steps of {arguments.batch_size} pairs, `{MODEL}`, "
        f"{prepared['num_pairs']} pairs at 64 px. The two draw different batches, weights and "
        "crops, so losses say only that both train. Peak of the largest process.\n"
    )
    about = circumstances(started)
    write_results("training_speed", title="Training", about=about, page=page, data=data)


def make_environment(folder: Path) -> str:
    """Make the trainer's environment: an old webdataset before what this one holds."""
    python = folder / "bin/python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", OLD_WEBDATASET]
        subprocess.run(pip, check=True)
        here = [path for path in sys.path if path.endswith("site-packages")]
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "everything_else.pth").write_text("\n".join(here) + "\n")
        (folder / "made").touch()
    return str(python)


def run(python: str, part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one part as a process, and give what its last line says."""
    command = [python, __file__, str(arguments.cache), "--part", part]
    for option in ("steps", "batch_size", "pairs"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(_ours_first())}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _ours_first() -> list[str]:
    return [str(ROOT / "src"), str(Path(__file__).parent)]


def answer(**values: Any) -> None:
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print("\n" + json.dumps(values | {"peak_bytes": peak * 1024}))


def prepare(arguments: argparse.Namespace) -> None:
    """Make the pool (not timed), then everything that ours trains from."""
    from stages import fabricate, run_stages

    folder = stage_folder(arguments)
    if not (folder / "raw").exists():
        fabricate(folder, num_pairs=arguments.pairs, seed=0)
    clock = time.perf_counter(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_stages(folder, ("ingest", "screen", "validate", "embed", "curate"), method="clip")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer(
        num_pairs=done["validate"]["num_pairs"],
        wall_seconds=time.perf_counter() - clock[0],
        cpu_seconds=time.process_time() - clock[1] + workers,
    )


def ours(arguments: argparse.Namespace) -> None:
    from stages import train

    from vl_pipeline.training.loop import Trainer

    ends: list[float] = []
    step = Trainer._step

    def noted(*given: Any) -> Any:
        report = step(*given)
        ends.append(time.perf_counter())
        return report

    Trainer._step = noted  # pyright: ignore[reportAttributeAccessIssue]
    done = train(
        stage_folder(arguments),
        method="clip",
        num_steps=arguments.steps,
        batch_size=arguments.batch_size,
        num_threads=1,
    )
    answer(
        num_steps=len(ends),
        seconds_a_step=step_seconds(ends),
        loss=done["loss"],
    )


def open_clip(arguments: argparse.Namespace) -> None:
    import open_clip
    from open_clip_train.main import main as train

    import vl_pipeline.models

    configs = Path(vl_pipeline.models.__file__).parent / "configs"
    open_clip.add_model_config(configs)
    logs = arguments.cache / "logs"
    name = f"run-{os.getpid()}"
    shards = sorted((stage_folder(arguments) / "raw/pool").glob("*.tar"))
    train(
        [
            f"--train-data={shards[0].parent}/{{{shards[0].stem}..{shards[-1].stem}}}.tar",
            "--dataset-type=webdataset",
            f"--train-num-samples={arguments.steps * arguments.batch_size}",
            f"--model={MODEL}",
            "--precision=fp32",
            "--epochs=1",
            "--workers=1",
            f"--batch-size={arguments.batch_size}",
            "--lr=1e-3",
            "--warmup=20",
            "--wd=0.2",
            "--aug-cfg",
            "scale=(0.5, 1.0)",
            "--log-every-n-steps=1",
            f"--logs={logs}",
            f"--name={name}",
        ]
    )
    lines = (logs / name / "out.log").read_text().splitlines()
    steps = [line for line in lines if "Contrastive_loss" in line]
    speeds = [float(re.findall(r"Batch \(t\): \S+, (\S+)/s,", line)[0]) for line in steps]
    answer(
        num_steps=len(steps),
        seconds_a_step=median(arguments.batch_size / speed for speed in speeds[WARM_UP:]),
        loss=float(re.findall(r"Contrastive_loss: (\S+)", steps[-1])[0]),
    )


def step_seconds(ends: list[float]) -> float:
    return median(b - a for a, b in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False))


def stage_folder(arguments: argparse.Namespace) -> Path:
    return arguments.cache / f"fabricated-{arguments.pairs}"


PARTS = {"prepare": prepare, "ours": ours, "open_clip": open_clip}

if __name__ == "__main__":
    main()
