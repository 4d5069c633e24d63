"""Every stage may be killed at any moment: what is there is whole, and a restart ends the same.

Each is killed once with its outputs absent and once with old ones there; VL_KILL_ROUNDS=20 does so
twenty times, at other moments.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.projects import copy_project, run

STAGES = ("ingest", "screen", "validate", "embed", "cit.curate", "cit.evaluate")
NUM_ROUNDS = int(os.environ.get("VL_KILL_ROUNDS", "1"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run without being disturbed."""
    project = copy_project(tmp_path_factory.mktemp("stages"))
    run(project, "fabricate")
    run(project, "cit")
    return project


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_leaves_whole_outputs_and_a_restart_ends_the_same(
    finished: Path, stage: str
) -> None:
    wanted = _outputs(finished)
    draw = random.Random(stage)
    seconds = 1.5  # that the stage takes; corrected once it was seen

    for _ in range(NUM_ROUNDS):
        for old_outputs_are_there in (False, True):
            if not old_outputs_are_there:
                _remove_outputs(finished, stage)
            _run_and_kill(finished, stage, after_seconds=draw.uniform(0.0, seconds))
            found = _outputs(finished)
            assert {name: wanted[name] for name in found} == found  # whole, or absent

            started = time.monotonic()
            _run_stage(finished, stage)
            seconds = time.monotonic() - started
            assert _outputs(finished) == wanted
            assert _leftovers(finished) == []


def _run_stage(project: Path, stage: str) -> None:
    if "." in stage:
        run(project, "cit", node_names=[stage])
    else:
        run(project, stage)


def _run_and_kill(project: Path, stage: str, *, after_seconds: float) -> None:
    """Run a stage in a fork, which has imported everything already; kill it and its workers."""
    child = os.fork()
    if not child:
        try:
            _run_stage(project, stage)
        finally:
            os._exit(0)
    time.sleep(after_seconds)
    workers = psutil.Process(child).children(recursive=True)
    for process in (psutil.Process(child), *workers):
        process.send_signal(signal.SIGKILL)
    os.waitpid(child, 0)


def _remove_outputs(project: Path, stage: str) -> None:
    said = yaml.safe_load((project / "dvc.yaml").read_text())["stages"][stage.replace(".", "_")]
    for name in said["outs"] + said.get("metrics", []):
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stage == "embed":  # so that it trains the text trunk anew
        shutil.rmtree(project / "data/scratch/text_start")


def _outputs(project: Path) -> dict[str, bytes]:
    """Everything the stages made that is whole by its name; scratch may differ."""
    data = project / "data"
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(data).parts)
        and path.relative_to(data).parts[0] not in ("01_raw", "scratch")
    }


def _leftovers(project: Path) -> list[Path]:
    return [path for path in (project / "data").rglob(".*") if path.suffix in (".part", ".old")]
