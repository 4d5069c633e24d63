"""A sweep as a user runs it: resumable, compared, and tracked as children of one run."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.projects import run

NODES = {"from_nodes": ["cit_sweep.run"]}


@pytest.fixture(scope="module")
def swept(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = shutil.copytree(finished_project, tmp_path_factory.mktemp("sweep") / "project")
    (project / "conf/test/mlflow.yml").write_text("enabled: true\nexperiment: test\n")
    run(project, "cit_sweep", **NODES)
    return project


def cells_of(project: Path) -> list[dict]:
    return json.loads((project / "data/07_model_output/cit_sweep/cells.json").read_text())


def runs_of(project: Path) -> tuple[list, list]:
    """Parents and children in the project's store."""
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    parents = client.search_runs(ids, "tags.method = 'cit_sweep'")
    children = client.search_runs(ids, "tags.`mlflow.parentRunId` LIKE '%'")
    return parents, children


def test_every_cell_sees_the_same_number_of_pairs_and_is_evaluated(swept: Path) -> None:
    cells = cells_of(swept)

    assert len(cells) == 2 * 6  # seeds, and settings of conf/test
    assert {cell["training"]["pairs_seen"] for cell in cells} == {6 * 16}
    assert all(cell["validation"][-1]["step"] == 6 for cell in cells)
    assert all("zero_shot_top1" in cell["metrics"]["other_scenes"] for cell in cells)


def test_a_sweep_that_is_started_again_runs_only_what_is_missing(swept: Path) -> None:
    finished = sorted((swept / "data/scratch/cit_sweep/cells").iterdir())
    before = {path: path.stat().st_mtime_ns for path in finished}
    removed = finished[0]
    lost = json.loads(removed.read_text())
    removed.unlink()

    run(swept, "cit_sweep", **NODES)

    again = json.loads(removed.read_text())
    assert again["metrics"] == lost["metrics"]
    assert again["history"] == lost["history"]
    assert all(path.stat().st_mtime_ns == before[path] for path in finished[1:])
    assert not list((swept / "data/scratch/cit_sweep/training").glob("*/checkpoints"))


def test_cells_are_children_of_one_run_and_logged_once(swept: Path) -> None:
    run(swept, "cit_sweep", **NODES)

    parents, children = runs_of(swept)

    assert len(parents) == 1
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parents[0].info.run_id}
    named = {(c.data.params["strategy"], c.data.params.get("value")) for c in children}
    assert len(children) == len(cells_of(swept))
    assert ("cit", "0.6") in named
    assert ("clip", None) in named
    one = next(c for c in children if c.data.params["strategy"] == "cit")
    assert one.info.status == "FINISHED"
    assert "eval/scenes_zero_shot_top1" in one.data.metrics
    assert "val/scenes_zero_shot_top1" in one.data.metrics
    assert "sweep/num_cells" in parents[0].data.metrics


def test_a_cell_that_keeps_too_little_is_reported_and_the_others_run(swept: Path) -> None:
    project = shutil.copytree(swept, swept.parent / "strict")
    strict = {"method": "offline", "vary": "curation.threshold", "values": [0.6, 0.999]}
    none_relaxed = {"set": {"curation.min_keep_fraction": 0.0}}
    params = {"cit_sweep": {"strategies": {"offline": strict | none_relaxed}, "seeds": [0]}}

    run(project, "cit_sweep", params=params, **NODES)

    text = (project / "data/08_reporting/cit_sweep/report.md").read_text()
    assert "- `offline 0.999`, seed 0: the curated set kept" in text
    assert "| offline 0.6 |" in text


def test_a_cell_whose_record_was_interrupted_is_recorded_again(swept: Path) -> None:
    (parent,), children = runs_of(swept)
    client = MlflowClient(f"sqlite:///{swept / 'mlflow.db'}")
    assert all("process" in child.data.tags for child in children)
    client.set_terminated(children[0].info.run_id, "KILLED")
    client.delete_tag(parent.info.run_id, "logged.cit_sweep.cells")

    run(swept, "cit_sweep", **NODES)

    key = children[0].data.tags["run_key"]
    again = [child for child in runs_of(swept)[1] if child.data.tags["run_key"] == key]
    assert {child.info.status for child in again} == {"KILLED", "FINISHED"}
    assert len(runs_of(swept)[1]) == len(children) + 1
