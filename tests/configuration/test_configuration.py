"""The configuration: nothing unused, nothing undeclared, and wrong values stop before any node."""

import re
from pathlib import Path

import pytest
import yaml

from tests.projects import ROOT, copy_project, run
from vl_pipeline.errors import ParameterError
from vl_pipeline.hooks.summary import REPORTS
from vl_pipeline.methods import all_methods
from vl_pipeline.pipeline_registry import register_pipelines

BASE = ROOT / "conf/base"
READ_BY_HOOKS = {"report"}


def test_every_parameter_is_an_input_of_a_node() -> None:
    used = {n[7:].split(".")[0] for p in register_pipelines().values() for n in p.inputs()}
    methods = {
        n[7:].split(".")[1]
        for p in register_pipelines().values()
        for n in p.inputs()
        if n.count(".") and n.startswith("params:")
    }

    declared = {
        key for file in BASE.glob("parameters*.yml") for key in yaml.safe_load(file.read_text())
    }

    assert declared - READ_BY_HOOKS == used & declared
    own = {block for method in all_methods() for block in method.own}
    assert methods == {"curation", "schedule", "objective", *own}


def test_every_number_says_where_it_comes_from_or_what_it_is_in() -> None:
    numbers = [
        (file.name, line)
        for file in BASE.glob("parameters*.yml")
        for line in file.read_text().splitlines()
        if re.match(r"\s+\w+: [-\d.]", line) and "#" not in line
    ]

    allowed = {"seed"}
    assert [n for n in numbers if n[1].split(":")[0].strip() not in allowed] == []


def test_every_data_set_of_a_pipeline_is_declared_and_every_declared_one_is_used() -> None:
    declared = {
        name for file in BASE.glob("catalog*.yml") for name in yaml.safe_load(file.read_text())
    }
    pipelines = register_pipelines()
    methods = {n for n in pipelines if f"{n}.metrics" in pipelines[n].all_outputs()}
    used = {n for p in pipelines.values() for n in p.datasets() if not n.startswith("params:")}
    used |= {f"{method}.{report}" for method in methods for report in REPORTS}

    patterned = {
        name if name in declared else re.sub(r"^\w+\.", "{method}.", name) for name in used
    }

    assert patterned == declared


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("cit.curation.threshold", 1.4, "less than or equal to 1"),
        ("cit.curation.treshold", 0.5, "treshold"),
        ("training.batch_size", 1, "greater than or equal to 2"),
        ("align.training.batch_size", 1, "greater than or equal to 2"),
        ("align.curation.rules.rare_token.max_valu", 5, "max_valu"),
        ("expectations.image_too_narrow.max_value", "wide", "image_too_narrow: max_value.*'wide'"),
        ("expectations.image_too_narrow.severty", "info", "image_too_narrow: severty"),
        ("expectations.enough_pairs.colunm", "kept", "enough_pairs: .* takes no colunm; it takes"),
    ],
)
def test_a_wrong_parameter_stops_the_run_before_its_first_node_and_names_itself(
    tmp_path: Path, parameter: str, value: object, message: str
) -> None:
    project = copy_project(tmp_path)
    nested: dict = {}
    inner = nested
    *parents, last = parameter.split(".")
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = value

    with pytest.raises(Exception, match="(?s)" + message) as error:
        run(project, "align" if parents[0] == "align" else "cit", params=nested)

    assert parents[0] in str(error.value)
    assert not (project / "data").exists()


NO_SUCH_PARAMETER = {"strategies": {"cit": {"set": {"curation.treshold": 0.5}}}}


@pytest.mark.parametrize(
    ("pipeline", "params", "message"),
    [
        ("image_text", {}, "pair_scorer.checkpoint is 'data/06_models/clip'"),
        ("cit_sweep", {"cit_sweep": NO_SUCH_PARAMETER}, "no parameter 'curation.treshold'"),
        ("cit_sweep", {"cit_sweep": {"pair_scores": "scores"}}, "scores does not exist; run"),
    ],
)
def test_what_a_later_stage_cannot_do_stops_the_run_before_anything_is_locked_or_written(
    tmp_path: Path, pipeline: str, params: dict, message: str
) -> None:
    project = copy_project(tmp_path)

    with pytest.raises(ParameterError, match=message):
        run(project, pipeline, params=params)

    assert not (project / "data").exists()


def test_a_stage_under_dvc_refuses_parameters_that_dvc_cannot_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_project(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "ingest")

    with pytest.raises(ValueError, match=r"pool.limits.max_pixels differ from conf/base"):
        run(project, "ingest", env="base", params={"pool": {"limits": {"max_pixels": 5}}})
