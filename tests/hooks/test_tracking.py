"""MLflow: one run per configuration, holding what that configuration made and nothing else."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run

from tests.projects import copy_project, run
from vl_pipeline.errors import ParameterError, TrackingError
from vl_pipeline.hooks.run_log import RunLog

SMALL = {"training": {"num_steps": 2}, "text_start": {"num_steps": 2}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with tracking on, after one whole run of `cit`."""
    project = copy_project(tmp_path_factory.mktemp("tracked"))
    (project / "conf/test/mlflow.yml").write_text("enabled: true\nexperiment: test\n")
    run(project, "fabricate")
    run(project, "cit", params=SMALL)
    return project


def test_a_run_holds_parameters_metrics_curves_figures_and_lineage(project: Path) -> None:
    found = _runs(project)[0]

    files = {f.path for f in _client(project).list_artifacts(found.info.run_id, "curation")}

    assert found.data.params["cit.curation.threshold"] == "0.5"
    assert found.data.params["training.num_steps"] == "2"
    assert "eval/scenes_zero_shot_top1" in found.data.metrics
    assert "curation/keep_fraction" in found.data.metrics
    assert "curation_round/keep_fraction" in found.data.metrics
    assert "truth/precision" in found.data.metrics
    assert "curation/score_histogram.png" in files
    summary = (project / "data/08_reporting/cit/summary.md").read_text()
    assert found.data.tags["mlflow.note.content"] == summary
    assert "zero-shot top-1" in summary
    for digest in ("pool_digest", "manifest_digest", "weights_digest", "code_digest"):
        assert len(found.data.tags[digest]) == 32


def test_the_checkpoint_is_a_logged_model_and_the_curated_set_a_data_set_input(
    project: Path,
) -> None:
    found = _runs(project)[0]

    models = [output.model_id for output in found.outputs.model_outputs]
    datasets = {i.dataset.name: i.dataset.digest for i in found.inputs.dataset_inputs}

    model = _client(project).get_logged_model(models[0])
    assert len(models) == 1
    assert model.params["weights_digest"] == found.data.tags["weights_digest"]
    assert datasets["curated_pairs"] == found.data.tags["manifest_digest"]
    assert datasets["trained_pairs"] == found.data.tags["trained_pairs_digest"]


def test_the_training_curve_has_one_point_per_logged_step(project: Path) -> None:
    found = _runs(project)[0]

    points = _client(project).get_metric_history(found.info.run_id, "train/loss_total")

    assert [point.step for point in points] == [1, 2]


def test_the_same_configuration_run_again_stage_by_stage_is_the_same_run_logged_once(
    project: Path,
) -> None:
    before = _runs(project)[0]

    for stage in ("cit.curate", "cit.train", "cit.evaluate"):
        run(project, "cit", node_names=[stage], params=SMALL)

    after = _runs(project)
    points = _client(project).get_metric_history(before.info.run_id, "train/loss_total")
    assert [r.info.run_id for r in after] == [before.info.run_id]
    assert len(points) == 2
    assert len(after[0].outputs.model_outputs) == 1


def test_another_threshold_is_another_run_without_the_first_ones_training(project: Path) -> None:
    changed = SMALL | {"cit": {"curation": {"threshold": 0.8}}}

    run(project, "cit", node_names=["cit.curate"], params=changed)

    runs = _runs(project)
    new = next(r for r in runs if r.data.params["cit.curation.threshold"] == "0.8")
    assert len(runs) == 2
    assert "curation/keep_fraction" in new.data.metrics
    assert "pool/num_kept" in new.data.metrics  # an ancestor's, made by an earlier session
    assert not [name for name in new.data.metrics if name.startswith(("train/", "eval/"))]


def test_a_run_that_fails_says_so(project: Path) -> None:
    broken = SMALL | {"cit": {"curation": {"threshold": 1.0, "min_keep_fraction": 0.0}}}

    with pytest.raises(Exception, match="fewer than one batch"):
        run(project, "cit", from_nodes=["cit.curate"], params=broken)

    failed = [r for r in _runs(project) if r.info.status == "FAILED"]
    assert len(failed) == 1
    assert "CurationError" in failed[0].data.tags["error"]


def test_another_pool_in_the_same_folder_is_another_run(project: Path, tmp_path: Path) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    before = {run.info.run_id for run in _runs(other)}
    run(other, "fabricate", params={"fabricated_pool": {"seed": 5}})

    run(other, "cit", to_nodes=["cit.curate"], params=SMALL)

    (new,) = [r for r in _runs(other) if r.info.run_id not in before]
    old = next(r for r in _runs(other) if "eval/scenes_zero_shot_top1" in r.data.metrics)
    assert new.data.params == old.data.params
    assert new.data.tags["pool_digest"] != old.data.tags["pool_digest"]


def test_pairs_that_must_go_are_found_when_every_file_but_mlflows_is_gone(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = pq.read_table(project / "data/05_model_input/cit/trained_pairs.parquet")
    wanted = pairs.slice(3, 1).to_pylist()[0]
    (tmp_path / "remove.txt").write_text(wanted["image_hash"] + "\n" + "0" * 32 + "\n")
    (project / "data").rename(tmp_path / "data")

    with caplog.at_level(logging.INFO, "vl_pipeline"):
        run(project, "affected", params={"affected": {"list": str(tmp_path / "remove.txt")}})

    report = json.loads((project / "data/08_reporting/affected.json").read_text())
    shutil.rmtree(project / "data")
    (tmp_path / "data").rename(project / "data")
    (found,) = report["checkpoints"]
    assert found["verdict"] == "affected"
    assert found["first_uids"] == [wanted["uid"]]
    assert found["run_id"] == _runs(project)[-1].info.run_id
    assert (found["path"], found["path_exists"]) == ("data/06_models/cit", False)
    assert wanted["uid"] in caplog.text


def test_a_checkpoint_whose_pairs_are_not_on_record_cannot_be_judged(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "remove.txt").write_text("0" * 32)
    (lineage,) = project.glob("mlartifacts/**/lineage")
    lineage.rename(tmp_path / "lineage")

    run(project, "affected", params={"affected": {"list": str(tmp_path / "remove.txt")}})

    (tmp_path / "lineage").rename(lineage)
    (found,) = json.loads((project / "data/08_reporting/affected.json").read_text())["checkpoints"]
    assert found["verdict"] == "cannot be judged"
    assert "has no artifact lineage/" in found["why"]


def test_a_store_that_fails_at_the_end_fails_the_run_and_loses_no_output(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    metrics = other / "data/08_reporting/cit/metrics.json"
    metrics.unlink()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(RunLog, "once", fail)
        with pytest.raises(TrackingError, match="all outputs are saved") as error:
            run(other, "cit", node_names=["cit.evaluate"], params=SMALL)

    assert "--nodes cit.evaluate" in str(error.value)
    assert metrics.exists()
    failed = next(r for r in _runs(other) if r.info.status == "FAILED" and not _is_curation(r))
    run(other, "cit", node_names=["cit.evaluate"], params=SMALL)
    assert _client(other).get_run(failed.info.run_id).info.status == "FINISHED"


def test_a_store_that_cannot_be_opened_stops_the_run_before_its_first_node(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/mlflow.db")

    with pytest.raises(TrackingError, match=r"sqlite:////proc/nowhere/mlflow.db cannot be opened"):
        run(project, "cit", node_names=["cit.curate"], params=SMALL)


LONG = "training.num_steps=100000,text_start.num_steps=2,training.checkpoint_every=3"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_stopped_is_killed_in_mlflow_too(
    project: Path, number: signal.Signals, code: int
) -> None:
    before = {path.name for path in (project / "data/scratch/cit").iterdir()}
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipelines", "cit"]
    # Shells start background jobs with SIGINT ignored, which children inherit.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--nodes", "cit.train", "--params", f"{LONG},training.seed={int(number)}"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    signal.signal(signal.SIGINT, ignored)
    try:
        while {path.name for path in (project / "data/scratch/cit").iterdir()} == before:
            assert process.poll() is None
            time.sleep(0.05)

        process.send_signal(number)

        assert process.wait(timeout=60) == code
    finally:
        process.kill()
    if number == signal.SIGKILL:  # nobody could say so then; the next run does
        run(project, "cit", node_names=["cit.curate"], params=SMALL)
    else:
        assert not list((project / "data").rglob("*.part"))
    stopped = next(r for r in _runs(project) if r.data.params["training.seed"] == str(int(number)))
    assert stopped.info.status == "KILLED"
    assert stopped.info.end_time is not None


def _is_curation(run: Run) -> bool:
    return "CurationError" in run.data.tags.get("error", "")


def _client(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def test_a_run_that_begins_with_what_other_parameters_made_is_refused(
    project: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    run(other, "cit", node_names=["cit.curate"], params=SMALL)
    before = _runs(other)
    threads = SMALL | {"training": {"num_steps": 2, "num_threads": 3}}
    changed = SMALL | {"cit": {"curation": {"threshold": 0.9}}}

    run(other, "cit", node_names=["cit.evaluate"], params=threads)
    with pytest.raises(
        ParameterError,
        match=r"curated_pairs\.parquet was made.*\(cit\.curation\.threshold 0\.5, now",
    ):
        run(other, "cit", node_names=["cit.train"], params=changed)
    with pytest.raises(ParameterError, match=r"models/cit was made with other parameters"):
        run(other, "cit", node_names=["cit.evaluate"], params=changed)

    assert len(_runs(other)) == len(before) + 1


def test_evaluation_without_what_a_summary_needs_is_recorded_all_the_same(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    (other / "data/08_reporting/cit/training.json").unlink()
    before = {run.info.run_id: run.info.status for run in _runs(other)}

    run(other, "cit", node_names=["cit.evaluate"], params=SMALL)

    assert "no summary of cit: there is no data/08_reporting/cit/training.json" in caplog.text
    assert {run.info.run_id: run.info.status for run in _runs(other)} == before


def test_a_run_without_git_or_that_cannot_be_written_to_is_closed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    before = {run.info.run_id for run in _runs(other)}
    monkeypatch.setattr(shutil, "which", lambda name: None)
    run(other, "cit", node_names=["cit.evaluate"], params=SMALL)
    changed = SMALL | {"evaluation": {"batch_size": 17}}

    def refuse(log: RunLog, values: dict) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(RunLog, "parameters", refuse)
    with pytest.raises(TrackingError, match="read-only"):
        run(other, "cit", node_names=["cit.evaluate"], params=changed)

    (new,) = [run for run in _runs(other) if run.info.run_id not in before]
    assert new.info.status == "FAILED"


def _runs(project: Path) -> list[Run]:
    client = _client(project)
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id])
