"""Copies of this project to run pipelines in, so that no test touches the project's own data."""

import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[1]


def copy_project(folder: Path) -> Path:
    """Make a project in `folder` with this one's configuration and source, and no data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("conf", "sweeps"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    for name in ("pyproject.toml", ".telemetry", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", dirs_exist_ok=True, ignore=ignore)
    return folder


def run(project: Path, pipeline: str, *, env: str = "test", **options: Any) -> None:
    """Run a pipeline of the project in this process, as `kedro run` would in another.

    `params` among the options are runtime parameters; the others go to `KedroSession.run`.
    """
    parameters = options.pop("params", None)
    with chdir(project):
        bootstrap_project(project)
        with KedroSession.create(
            project_path=project, env=env, runtime_params=parameters
        ) as session:
            session.run(pipeline_names=[pipeline], **options)
