"""The page on extending adds a rule, a term and a method: its files, as they stand, work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.projects import ROOT, copy_project, run

PAGE = ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```(?:python|yaml) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
METHOD = "short_captions"
FIRST = f"{METHOD}.curate"

# For a process of its own, whose `vl_pipeline` is the project's it runs in.
TRAIN_AND_COUNT_VIEWS = """
import json, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(Path.cwd())
from vl_pipeline.data.loader import ViewLoader
from vl_pipeline.dvc_stages import write_dvc_files

load, num_views = ViewLoader.load, set()

def watched(self, step, rows):
    pixels = load(self, step, rows)
    num_views.add(len(pixels))
    return pixels

ViewLoader.load = watched
with KedroSession.create(project_path=Path.cwd(), env="test") as session:
    session.run(pipeline_names=[sys.argv[1]], node_names=[f"{sys.argv[1]}.train"])
Path("views.json").write_text(json.dumps(sorted(num_views)))
Path("dvc.yaml").write_text(write_dvc_files(Path.cwd())[Path("dvc.yaml")])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's files in it, after a run of the page's method."""
    project = copy_project(tmp_path_factory.mktemp("extended"))
    for name, text in _files_of_page().items():
        assert not (project / name).exists(), f"{name} would replace a file of the project"
        (project / name).write_text(text)
    for shared in ("fabricate", "ingest", "screen", "validate", "embed"):
        run(project, shared)  # in this process: the page changes nothing about them
    _python(
        project, "-m", *f"kedro run --env test --pipelines {METHOD} --from-nodes {FIRST}".split()
    )
    return project


@pytest.fixture(scope="module")
def project_without_term(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project after the method lost its second term and was trained again."""
    changed = shutil.copytree(project, tmp_path_factory.mktemp("changed") / "project")
    file = changed / "src/vl_pipeline/objectives/view_consistency.py"
    text, num_taken_out = re.subn(r'(?m)^ *"view_consistency": .*\n', "", file.read_text())
    assert num_taken_out == 1
    file.write_text(text)
    _python(changed, "-c", TRAIN_AND_COUNT_VIEWS, METHOD)
    return changed


def test_the_page_holds_one_file_for_a_rule_one_for_a_term_and_two_for_a_method() -> None:
    folders = sorted(str(Path(name).parent) for name in _files_of_page())

    package = "src/vl_pipeline"
    assert folders == [
        "conf/base",
        *(f"{package}/{p}" for p in ("curation", "methods", "objectives")),
    ]


def test_the_files_read_like_the_rest_of_the_project(project: Path) -> None:
    names = [name for name in _files_of_page() if name.endswith(".py")]

    for command in (["check"], ["format", "--check"]):
        _python(project, "-m", "ruff", *command, *names)


def test_the_rule_keeps_the_pairs_within_its_limits_and_no_others(project: Path) -> None:
    pool = pq.read_table(project / "data/03_primary/pool.parquet").to_pylist()
    limits = yaml.safe_load((project / f"conf/base/parameters_{METHOD}.yml").read_text())
    fewest, most = (limits[METHOD]["curation"][name] for name in ("min_words", "max_words"))

    pairs = pq.read_table(project / f"data/05_model_input/{METHOD}/curated_pairs.parquet")

    within = {p["uid"] for p in pool if fewest <= len(p["caption"].split()) <= most}
    assert 0 < len(within) < len(pool)
    assert set(pairs["uid"].to_pylist()) == within
    assert set(pairs["accepted_by"].to_pylist()) == {"caption_length"}


def test_each_term_has_its_curve_and_the_total_is_their_weighted_sum(project: Path) -> None:
    first = _report(project, "history.json")[0]

    assert first["loss_view_consistency"] > 0
    assert first["loss_total"] == pytest.approx(
        first["loss_contrastive"] + 0.5 * first["loss_view_consistency"]
    )


def test_the_method_is_evaluated_as_every_other(project: Path) -> None:
    metrics = _report(project, "metrics.json")

    assert set(metrics) == {"scenes", "other_scenes", "scenes_retrieval"}


def test_taking_the_term_out_takes_the_second_view_out(project_without_term: Path) -> None:
    first = _report(project_without_term, "history.json")[0]

    assert json.loads((project_without_term / "views.json").read_text()) == [1]
    assert first["loss_total"] == first["loss_contrastive"]
    assert "loss_view_consistency" not in first


def test_the_method_gets_dvc_stages_of_its_own(project_without_term: Path) -> None:
    stages = yaml.safe_load((project_without_term / "dvc.yaml").read_text())["stages"]

    assert {f"{METHOD}_{stage}" for stage in ("curate", "train", "evaluate")} < set(stages)
    package = "src/vl_pipeline"
    assert f"{package}/curation/caption_length.py" in stages[f"{METHOD}_curate"]["deps"]
    assert f"{package}/objectives/view_consistency.py" in stages[f"{METHOD}_train"]["deps"]


def _files_of_page() -> dict[str, str]:
    """Path to text of each block of the page that names a file."""
    return dict(BLOCK.findall(PAGE.read_text()))


def _python(project: Path, *arguments: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _report(project: Path, name: str) -> list | dict:
    return json.loads((project / "data/08_reporting" / METHOD / name).read_text())
