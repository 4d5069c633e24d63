"""`dvc repro` runs what is stale and nothing else, and its stages are one MLflow run."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.projects import copy_project

THRESHOLD = "conf/base/parameters_cit.yml:cit.curation.threshold"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git and DVC project with the test environment's numbers in `conf/base`, run once."""
    project = copy_project(tmp_path_factory.mktemp("dvc"))
    _move_test_numbers_to_base(project)
    _run(project, "git", "init", "-q")
    _run(project, "git", "config", "user.name", "test")
    _run(project, "git", "config", "user.email", "test@test.example")
    _dvc(project, "init", "-q")
    _dvc(project, "repro", "cit_evaluate")
    _run(project, "git", "add", "-A")
    _run(project, "git", "commit", "-qm", "ran")
    return project


def test_a_second_repro_runs_nothing(project: Path) -> None:
    said = _dvc(project, "repro", "cit_evaluate")

    assert "Running stage" not in said
    assert "up to date" in said


def test_another_threshold_runs_the_method_anew_and_the_old_one_comes_from_the_cache(
    project: Path,
) -> None:
    said = _dvc(project, "exp", "run", "-S", f"{THRESHOLD}=0.7", "cit_evaluate")

    assert _stages_run(said) == ["cit_curate", "cit_train", "cit_evaluate"]
    assert "curation.json" in _dvc(project, "metrics", "diff")
    assert "threshold" in _dvc(project, "params", "diff")
    again = _dvc(project, "exp", "run", "-S", f"{THRESHOLD}=0.5", "cit_evaluate")
    assert _stages_run(again) == []


def test_the_stages_of_one_configuration_are_one_run(project: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("vl_pipeline")
    assert experiment is not None

    runs = client.search_runs([experiment.experiment_id])

    assert {run.data.params["cit.curation.threshold"] for run in runs} <= {"0.5", "0.7"}
    first = next(run for run in runs if run.data.params["cit.curation.threshold"] == "0.5")
    assert {"pool/num_kept", "curation/num_kept", "eval/scenes_zero_shot_top1"} <= set(
        first.data.metrics
    )
    assert len([r for r in runs if r.data.params["cit.curation.threshold"] == "0.5"]) == 1


def test_plots_are_drawn(project: Path) -> None:
    said = _dvc(project, "plots", "show")

    assert (project / "dvc_plots/index.html").exists(), said


def _move_test_numbers_to_base(project: Path) -> None:
    small = yaml.safe_load((project / "conf/test/parameters.yml").read_text())
    for file in (project / "conf/base").glob("parameters*.yml"):
        values = yaml.safe_load(file.read_text())
        _merge(values, {key: small[key] for key in values.keys() & small.keys()})
        file.write_text(yaml.safe_dump(values))


def _merge(values: dict, changes: dict) -> None:
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values[key], dict):
            _merge(values[key], change)
        else:
            values[key] = change


def _stages_run(said: str) -> list[str]:
    lines = [line for line in said.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]


def _dvc(project: Path, *arguments: str) -> str:
    return _run(project, sys.executable, "-m", "dvc", *arguments)


def _run(project: Path, *command: str) -> str:
    scripts = str(Path(sys.executable).parent)
    done = subprocess.run(
        command,
        cwd=project,
        env={
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
