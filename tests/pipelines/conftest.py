"""One run of the whole path in the test environment, shared by the tests that look at it."""

from pathlib import Path

import pytest

from tests.projects import copy_project, run


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the embedded pool was made and every method was run."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    run(project, "fabricate")
    run(project, "cit")
    for method in ("clip", "random"):
        run(project, method, from_nodes=[f"{method}.curate"])
    return project
