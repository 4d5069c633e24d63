"""One MLflow run per configuration, however the configuration was run.

A run is found by a key over the method, its parameters and the package's code. `kedro run` of a
method opens it once; each stage of `dvc repro` is a process of its own and finds the run the one
before it made. A session logs what its nodes made and what that was made from, each once per
digest: files on disk that belong to other parameters are never picked up.
"""

import logging
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from vl_pipeline.data.digest import digest_of_code, digest_of_value
from vl_pipeline.hooks.flatten import flatten
from vl_pipeline.hooks.run_log import RunLog, digest_of_path, open_store
from vl_pipeline.methods import all_methods

logger = logging.getLogger(__name__)


class MlflowHooks:
    """Tracks runs of methods; stages that belong to no method are logged with the next method."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {"enabled": False}
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._log: RunLog | None = None
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read settings and parameters; the store lies where DVC's root is."""
        context.config_loader.config_patterns["mlflow"] = ["mlflow*"]
        self._settings = context.config_loader["mlflow"]
        self._parameters = context.config_loader["parameters"]
        self._root = Path(os.environ.get("DVC_ROOT", context.project_path)).resolve()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Find or open the run of this configuration."""
        self._log = None
        self._seconds = {}
        names = run_params["pipeline_names"] or ["__default__"]
        method = "cit" if names == ["__default__"] else names[0]
        if not self._settings["enabled"] or method not in {m.name for m in all_methods()}:
            return
        parameters = self._parameters_of(pipelines[method])
        code = digest_of_code()
        key = digest_of_value({"method": method, "parameters": parameters, "code": code})
        store = open_store(self._root, self._settings["experiment"])
        self._log = RunLog.find_or_create(store, method=method, key=key)
        self._log.parameters(parameters)
        self._log.tags({"method": method, "code_digest": code, **_git_tags(self._root)})

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the node's clock."""
        self._seconds[node.name] = time.monotonic() - self._started[node.name]

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log what the session's nodes and their ancestors made, then close the run."""
        if self._log is None:
            return
        names = run_params["pipeline_names"] or ["__default__"]
        made = pipelines[names[0]].to_nodes(*(node.name for node in pipeline.nodes))
        for name in sorted(made.all_outputs()):
            dataset = catalog.get(name)
            kind = (dataset.metadata or {}).get("mlflow")
            if kind and dataset.path.exists():
                self._log.once(name, digest_of_path(dataset.path), dataset.path, kind)
        self._log.metrics({f"time/{_plain(n)}_seconds": s for n, s in self._seconds.items()})
        self._log.close("FINISHED")
        logger.info("MLflow run %s (%s)", self._log.name, self._log.run_id)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the run as failed, with the reason."""
        if self._log is not None:
            self._log.tags({"error": f"{type(error).__name__}: {error}"[:5000]})
            self._log.close("FAILED")

    def _parameters_of(self, pipeline: Pipeline) -> dict[str, Any]:
        keys = sorted(name[7:] for name in pipeline.inputs() if name.startswith("params:"))
        flat: dict[str, Any] = {}
        for key in keys:
            value: Any = self._parameters
            for part in key.split("."):
                value = value[part]
            flat |= flatten(value, name=key)
        return flat


def _plain(node_name: str) -> str:
    return node_name.rpartition(".")[2]


def _git_tags(root: Path) -> dict[str, str]:
    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        return result.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changed = "yes" if git("status", "--porcelain", "--", "src", "conf") else "no"
    return {"mlflow.source.git.commit": commit, "git_uncommitted_changes": changed}
