"""Where each stage spends its time, on a fabricated pool.

    OMP_NUM_THREADS=1 python benchmarks/profile_stages.py FOLDER [--pairs 200000] [--steps 50]

Every stage of method `cit` is run twice as a fresh process, on the same files: as it is, for wall
seconds, CPU seconds and memory, and under cProfile, for the functions that take longest by
themselves. cProfile sees one thread: `ingest`, whose work is in worker processes, is profiled on
one shard without them; what loads pictures while `train` computes is not in its list.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from side_by_side import RESULTS, circumstances, table, write_results
from stages import fabricate

ROOT = RESULTS.parents[1]
STAGES = ("ingest", "screen", "validate", "embed", "curate", "train")
NUM_SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=200_000, help="listed")
    parser.add_argument("--steps", type=int, default=50, help="of training, 128 pairs each")
    arguments = parser.parse_args()
    started = os.getloadavg()
    folder = (arguments.folder / str(arguments.pairs)).resolve()
    if not (folder / "raw").exists():
        fabricate(folder, num_pairs=arguments.pairs)
    runs = {stage: run(stage, folder, arguments.steps) for stage in STAGES}
    rows, parts = [], []
    for stage, (plain, profiled) in runs.items():
        memory = f"{plain['peak_bytes'] / 2**20:,.0f}"
        if plain["peak_bytes_of_a_worker"]:
            memory += f", a worker {plain['peak_bytes_of_a_worker'] / 2**20:,.0f}"
        times = (f"{plain[name]:.1f}" for name in ("wall_seconds", "cpu_seconds"))
        rows.append([stage, *times, memory, plain.get("num_pairs", "")])
        functions = [
            [f"`{f['function']}`", f"{f['calls']:,}", f["own_seconds"], f["total_seconds"]]
            for f in profiled["top"][:NUM_SHOWN]
        ]
        headings = ["function", "calls", "own s", "with what it calls, s"]
        parts.append(f"\n## {stage}\n\n{table(headings, functions)}")
    page = table(["stage", "wall s", "CPU s", "peak MiB", "pairs"], rows) + "".join(parts)
    write_results(
        "profile_stages",
        title=f"Stages on {arguments.pairs:,} fabricated pairs",
        about=circumstances(started),
        page=page,
        data={"runs": runs},
    )


def run(stage: str, folder: Path, steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    plain = run_once(stage, folder, steps, profile=False)
    print(
        f"{stage}: {plain['wall_seconds']:.1f} s, {plain['cpu_seconds']:.1f} CPU s, "
        f"peak {plain['peak_bytes'] / 2**20:.0f} MiB",
        flush=True,
    )
    return plain, run_once(stage, folder, steps, profile=True)


def run_once(stage: str, folder: Path, steps: int, *, profile: bool) -> dict[str, Any]:
    name = "index_one_shard" if stage == "ingest" and profile else stage
    settings: dict[str, Any] = {"training": {"num_steps": steps}}
    shutil.rmtree(folder / "scratch", ignore_errors=True)  # what is kept would not be done again
    command = [sys.executable, str(Path(__file__).with_name("stages.py")), name, str(folder)]
    command += ["--settings", json.dumps(settings), *(["--profile"] if profile else [])]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{stage} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
