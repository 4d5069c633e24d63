"""`dvc.yaml` says what the pipelines say."""

from pathlib import Path
from typing import Any

import yaml

from tests.projects import ROOT, copy_project
from vl_pipeline.dvc_stages import ELSEWHERE, MAIN, _watched, write_dvc_files
from vl_pipeline.pipeline_registry import register_pipelines

FILES = [MAIN, *ELSEWHERE.values()]


def test_the_committed_files_are_what_the_pipelines_make() -> None:
    written = write_dvc_files(ROOT)

    assert {file: (ROOT / file).read_text() for file in FILES} == written, "run `make dvc`"


def test_what_a_stage_reads_is_made_by_another_or_named_by_a_parameter() -> None:
    stages = [stage for file in FILES for stage in _stages(file).values()]
    made = {out for stage in stages for out in stage["outs"] + stage.get("metrics", [])}

    for stage in stages:
        data = [dep for dep in stage["deps"] if not dep.startswith("src/")]
        assert [d for d in data if d not in made and not d.startswith("${")] == []


def test_another_threshold_concerns_curate_and_train_alone() -> None:
    assert _watching("cit.curation", MAIN) == ["cit_curate", "cit_train"]


def test_a_sweep_starts_from_the_numbers_of_methods_and_runs_only_when_it_is_asked_for() -> None:
    assert _watching("cit.curation", ELSEWHERE["cit_sweep"]) == ["cit_sweep_run"]
    assert [name for name in _stages(MAIN) if "sweep" in name] == []


def test_every_stage_depends_on_the_code_of_its_own_node() -> None:
    for file in FILES:
        for name, stage in _stages(file).items():
            folder = "cit_sweep" if name.startswith("cit_sweep_") else name.rpartition("_")[2]
            assert f"src/vl_pipeline/pipelines/{folder}/nodes.py" in stage["deps"]


def test_a_block_list_is_a_dependency_once_there_is_one(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    screen = register_pipelines()["screen"]
    file = project / "conf/base/parameters_screening.yml"

    assert _watched(screen, project) == {"${pool.folder}", "${tasks.folder}"}

    file.write_text(file.read_text().replace("block_list: null", "block_list: data/no.txt"))
    assert "${screening.block_list}" in _watched(screen, project)


def _stages(file: Path) -> dict[str, Any]:
    return yaml.safe_load((ROOT / file).read_text())["stages"]


def _watching(parameter: str, file: Path) -> list[str]:
    return [
        name
        for name, stage in _stages(file).items()
        if any(parameter in keys for entry in stage["params"] for keys in entry.values())
    ]
