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
from vl_pipeline.datasets.files import dataset_named
from vl_pipeline.hooks.flatten import flatten
from vl_pipeline.hooks.run_log import RunLog, digest_of_path, open_store
from vl_pipeline.hooks.summary import REPORTS
from vl_pipeline.methods import all_methods

logger = logging.getLogger(__name__)

_MAX_TAG = 5000  # characters that MLflow stores of a tag


class MlflowHooks:
    """Tracks runs of methods; what shared stages make is logged with the next method's run."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {"enabled": False}
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._logs: dict[str, RunLog] = {}
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read settings and parameters; the store lies where DVC's root is."""
        self._settings = context.config_loader["mlflow"]
        self._parameters = context.config_loader["parameters"]
        self._root = Path(os.environ.get("DVC_ROOT", context.project_path)).resolve()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Find or open the run of each method of this session."""
        self._logs, self._seconds = {}, {}
        if self._settings["enabled"]:
            self._logs = {method: self._open_run(method) for method in _methods_of(run_params)}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the node's clock."""
        self._seconds[node.name] = time.monotonic() - self._started[node.name]
        logger.info("%-16s %6.1f s", node.name, self._seconds[node.name])

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log what the session's nodes and their ancestors made, then close the runs."""
        for method, log in self._logs.items():
            whole = pipelines[method]
            ran = {node.name for node in pipeline.nodes} & {node.name for node in whole.nodes}
            names = whole.to_nodes(*ran).all_outputs()
            if f"{method}.evaluate" in ran:
                names |= {f"{method}.{report}" for report in REPORTS}
            for name in sorted(names):
                dataset = dataset_named(catalog, name)
                if "mlflow" in dataset.metadata and dataset.path.exists():
                    digest = digest_of_path(dataset.path)
                    log.once(name, digest, dataset.path, dataset.metadata["mlflow"])
            seconds = {name: s for name, s in self._seconds.items() if name in ran}
            log.metrics({f"time/{_plain(name)}_seconds": s for name, s in seconds.items()})
            log.close("FINISHED")
            logger.info("MLflow run %s (%s)", log.name, log.run_id)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the runs as failed, with the reason."""
        for log in self._logs.values():
            log.tags({"error": f"{type(error).__name__}: {error}"[:_MAX_TAG]})
            log.close("FAILED")

    def _open_run(self, method: str) -> RunLog:
        parameters = self._parameters_of(pipelines[method])
        code = digest_of_code()
        key = digest_of_value({"method": method, "parameters": parameters, "code": code})
        store = open_store(self._root, self._settings["experiment"])
        log = RunLog.find_or_create(store, method=method, key=key)
        log.parameters({"method": method, **parameters})
        log.tags({"method": method, "code_digest": code, **_git_tags(self._root)})
        return log

    def _parameters_of(self, pipeline: Pipeline) -> dict[str, Any]:
        keys = sorted(name[7:] for name in pipeline.inputs() if name.startswith("params:"))
        flat: dict[str, Any] = {}
        for key in keys:
            value: Any = self._parameters
            for part in key.split("."):
                value = value[part]
            flat |= flatten(value, name=key)
        return flat


def _methods_of(run_params: dict[str, Any]) -> list[str]:
    known = {method.name for method in all_methods()}
    names = run_params["pipeline_names"] or ["__default__"]
    return sorted({"cit" if name == "__default__" else name for name in names} & known)


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
