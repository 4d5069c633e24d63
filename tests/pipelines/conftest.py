"""One run of the whole path in the test environment, shared by the tests that look at it."""

from pathlib import Path

import pytest

from tests.projects import copy_project, run
from vl_pipeline.methods import all_methods


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the embedded pool was made and every method was run."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    run(project, "fabricate")
    run(project, "cit")
    run(project, "clip", from_nodes=["clip.curate"])
    run(project, "score")  # by the checkpoint of clip
    for method in all_methods():
        if method.name not in ("cit", "clip"):
            run(project, method.name, from_nodes=[f"{method.name}.curate"])
    return project
