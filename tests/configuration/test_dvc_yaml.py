"""`dvc.yaml` says what the pipelines say."""

from pathlib import Path

import yaml

from tests.projects import ROOT, copy_project
from vl_pipeline.dvc_stages import _watched, write_dvc_yaml
from vl_pipeline.pipeline_registry import register_pipelines


def test_the_committed_file_is_what_the_pipelines_make() -> None:
    assert (ROOT / "dvc.yaml").read_text() == write_dvc_yaml(ROOT), "run `make dvc`"


def test_what_a_stage_reads_is_made_by_another_or_named_by_a_parameter() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    made = {out for stage in stages.values() for out in stage["outs"] + stage.get("metrics", [])}

    for stage in stages.values():
        data = [dep for dep in stage["deps"] if not dep.startswith("src/")]
        assert [d for d in data if d not in made and not d.startswith("${")] == []


def test_a_threshold_is_a_parameter_of_curate_and_train_and_of_sweeps_that_start_from_it() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

    watching = [
        name
        for name, stage in stages.items()
        if any("cit.curation" in keys for entry in stage["params"] for keys in entry.values())
    ]

    assert sorted(watching) == ["cit_curate", "cit_sweep_run", "cit_train"]


def test_every_stage_depends_on_the_code_of_its_own_node() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

    for name, stage in stages.items():
        folder = "cit_sweep" if name.startswith("cit_sweep_") else name.rpartition("_")[2]
        assert f"src/vl_pipeline/pipelines/{folder}/nodes.py" in stage["deps"]


def test_a_block_list_is_a_dependency_once_there_is_one(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    screen = register_pipelines()["screen"]
    file = project / "conf/base/parameters_screening.yml"

    assert _watched(screen, project) == {"${pool.folder}", "${tasks.folder}"}

    file.write_text(file.read_text().replace("block_list: null", "block_list: data/no.txt"))
    assert "${screening.block_list}" in _watched(screen, project)
