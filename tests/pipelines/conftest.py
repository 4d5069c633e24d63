"""One run of the whole path in the test environment, shared by the tests that look at it."""

from pathlib import Path

import pytest

from tests.projects import copy_project, run
from vl_pipeline.methods import all_methods
from vl_pipeline.pipeline_registry import register_pipelines


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the embedded pool was made and every method was run."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    run(project, "fabricate")
    run(project, "cit")
    run(project, "clip", from_nodes=["clip.curate"])
    run(project, "score")  # by the checkpoint of clip
    pipelines = register_pipelines()
    done = {node.name for name in ("cit", "clip", "score") for node in pipelines[name].nodes}
    for method in all_methods():
        left = [node.name for node in pipelines[method.name].nodes if node.name not in done]
        if left:
            run(project, method.name, node_names=left)
    return project
