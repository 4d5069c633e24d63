"""MLflow: one run per configuration, holding what that configuration made and nothing else."""

from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from tests.projects import copy_project, run

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


def _client(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def _runs(project: Path) -> list[Run]:
    client = _client(project)
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id])
