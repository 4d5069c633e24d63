"""A run that is killed and started again ends where an undisturbed one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.projects import copy_project, run

NUM_KILLS = 3
PARAMETERS = "training.num_steps=40,training.checkpoint_every=5"


def test_killed_at_any_moment_and_started_again_the_weights_are_the_same(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "killed")
    run(project, "fabricate")
    undisturbed = copy_project(tmp_path / "undisturbed")
    (project / "data").rename(undisturbed / "data")
    _start(undisturbed).wait(timeout=300)
    (project / "data").mkdir()
    (undisturbed / "data/01_raw").rename(project / "data/01_raw")

    draw = random.Random(0)
    for _ in range(NUM_KILLS):
        process = _start(project)
        _wait_for_scratch(project, process)
        time.sleep(draw.uniform(0.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert _start(project).wait(timeout=300) == 0

    assert _outputs(project) == _outputs(undisturbed)


def _start(project: Path) -> subprocess.Popen[bytes]:
    """Start `kedro run` in a process group of its own, so that its workers can be killed too."""
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipelines", "cit"]
    return subprocess.Popen(
        [*command, "--params", PARAMETERS],
        cwd=project,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for_scratch(project: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not (project / "data/scratch/cit").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "training did not begin"
        time.sleep(0.05)


def _outputs(project: Path) -> dict[str, bytes]:
    names = ("06_models/cit/weights.safetensors", "08_reporting/cit/metrics.json")
    pairs = "05_model_input/cit/trained_pairs.parquet"
    return {name: (project / "data" / name).read_bytes() for name in (*names, pairs)}
