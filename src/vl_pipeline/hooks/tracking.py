"""One MLflow run per configuration and pool, however the configuration was run.

A run is found by a key over the method, its parameters, the package's code and the pool. `kedro
run` of a method opens it once its pool is known; each stage of `dvc repro` is a process of its own
and finds the run the one before it made. A session logs what its nodes made and what that was made
from, each once per digest; it refuses to begin with a file that the store knows to be made with
other parameters.
"""

import atexit
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from vl_pipeline.datasets.tracked_runs import tracking_uri
from vl_pipeline.errors import ParameterError, TrackingError
from vl_pipeline.hooks.flatten import flatten
from vl_pipeline.hooks.run_log import (
    RunLog,
    Store,
    digest_of_path,
    end_killed_runs,
    open_store,
    parameters_of_makers,
    text,
)
from vl_pipeline.hooks.summary import REPORTS
from vl_pipeline.methods import all_methods
from vl_pipeline.pipelines.cit_sweep.pipeline import NAME as SWEEP

logger = logging.getLogger(__name__)

_POOL_SUMMARY = "validation_summary"
"""The data set that says which pool it is."""

_COST_ONLY = {"num_workers", "num_threads", "log_every", "checkpoint_every"}  # of any block


class MlflowHooks:
    """Tracks runs of methods; what shared stages make is logged with the next method's run."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {"enabled": False}
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._store: Store | None = None
        self._methods: list[str] = []
        self._logs: dict[str, RunLog] = {}
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._unsaved: set[str] = set()  # outputs of the node that ran last
        atexit.register(self._end_killed)

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read settings and parameters; the store lies where DVC's root is."""
        self._settings = context.config_loader["mlflow"]
        self._parameters = context.config_loader["parameters"]
        self._root = Path(os.environ.get("DVC_ROOT", context.project_path)).resolve()

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the store, and the run of each method unless this session makes its pool first.

        Raises:
            TrackingError: If the store cannot be opened; no node has run by then.
            ParameterError: If the run begins with a file that other parameters made.
        """
        self._end_killed()  # what an interrupted session of this process left open
        self._seconds = {}
        self._methods = _methods_of(run_params) if self._settings["enabled"] else []
        if not self._methods:
            return
        with self._store_must_open():
            self._store = open_store(self._root, self._settings["experiment"])
            end_killed_runs(self._store)
        for method in self._methods:
            self._require_made_for_this(method, pipeline, catalog)
        if _POOL_SUMMARY not in pipeline.all_outputs():
            known = dataset_named(catalog, _POOL_SUMMARY).path.exists()
            self._open_runs(catalog.load(_POOL_SUMMARY) if known else {})

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any]) -> None:
        """Open the runs once it is known which pool they are about."""
        self._unsaved = {*node.outputs}
        if _POOL_SUMMARY in outputs and not self._logs:
            self._open_runs(outputs[_POOL_SUMMARY])

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Stop the node's clock after its last output: of folders, saving is the work."""
        self._unsaved.discard(dataset_name)
        if not self._unsaved:
            self._seconds[node.name] = time.monotonic() - self._started[node.name]
            logger.info("%-16s %6.1f s", node.name, self._seconds[node.name])

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log what the session's nodes and their ancestors made, then close the runs.

        Raises:
            TrackingError: If the store cannot be written. All outputs are saved by then, but a
                checkpoint whose pairs are not on record must not pass for a finished run.
        """
        try:
            for method, log in list(self._logs.items()):
                self._record(method, log, pipeline, catalog)
                del self._logs[method]
        except Exception as error:  # MLflow's stores raise errors of many libraries
            self._close("FAILED", {"error": f"not recorded in full: {error}"})
            last = pipeline.nodes[-1].name
            raise TrackingError(
                f"MLflow's store {self._uri} could not be written ({error}); all outputs are "
                f"saved, but the run's record is not complete; once the store works again, `kedro "
                f"run --pipelines {','.join(self._methods)} --nodes {last}` with the same "
                f"parameters records the rest"
            ) from error

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Mark the runs as failed, with the reason; without a pool they are runs of their own."""
        with _warning("the failed run is not on record"):
            if self._methods and not self._logs:
                self._open_runs({})
        self._close("FAILED", {"error": f"{type(error).__name__}: {error}"})

    @property
    def _uri(self) -> str:
        return tracking_uri(self._root / "mlflow.db")

    @contextmanager
    def _store_must_open(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # MLflow's stores raise errors of many libraries
            self._close("FAILED", {"error": str(error)})
            raise TrackingError(
                f"MLflow's store {self._uri} cannot be opened ({error}); mend it, correct "
                f"MLFLOW_TRACKING_URI, or set `enabled: false` in conf/base/mlflow.yml, then start "
                f"again"
            ) from error

    def _require_made_for_this(
        self, method: str, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        assert self._store is not None
        whole = pipelines[method]
        for name in sorted(pipeline.inputs() & whole.all_outputs()):
            dataset = dataset_named(catalog, name)
            if "mlflow" not in dataset.metadata or not dataset.path.exists():
                continue
            now = self._parameters_of(whole.to_outputs(name))
            with self._store_must_open():
                then = parameters_of_makers(self._store, name, digest_of_path(dataset.path))
            differences = [_changed(made, now) for made in then]
            if differences and all(differences):
                raise ParameterError(
                    f"{dataset.path} was made with other parameters ({differences[0]}); run from "
                    f"the node that makes it (`--from-nodes`), or set them back"
                )

    def _record(
        self, method: str, log: RunLog, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
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

    def _open_runs(self, pool_summary: dict[str, Any]) -> None:
        pool = pool_summary.get("pool_digest")
        with self._store_must_open():
            for method in self._methods:
                self._open_run(method, pool)

    def _close(self, status: str, tags: dict[str, str]) -> None:
        """Close what is open, without an error of its own that would hide why."""
        for log in self._logs.values():
            with _warning(f"MLflow run {log.name} ({log.run_id}) is not closed"):
                log.tags(tags)
                log.close(status)
        self._logs = {}

    def _end_killed(self) -> None:
        """Close the runs of a session that Ctrl-C or a signal ended: Kedro tells no hook."""
        self._close("KILLED", {})

    def _open_run(self, method: str, pool: str | None) -> None:
        assert self._store is not None
        parameters = self._parameters_of(pipelines[method])
        code = digest_of_code()
        identity = {"method": method, "parameters": parameters, "code": code, "pool": pool}
        log = RunLog.find_or_create(self._store, method=method, key=digest_of_value(identity))
        self._logs[method] = log  # before all else, so that it is closed whatever fails
        log.parameters({"method": method, **parameters})
        log.tags({"method": method, "code_digest": code, **_git_tags(self._root)})

    def _parameters_of(self, pipeline: Pipeline) -> dict[str, Any]:
        keys = sorted(name[7:] for name in pipeline.inputs() if name.startswith("params:"))
        flat: dict[str, Any] = {}
        for key in keys:
            value: Any = self._parameters
            for part in key.split("."):
                value = value[part]
            flat |= flatten(value, name=key)
        return flat


@contextmanager
def _warning(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MLflow's stores raise errors of many libraries
        logger.warning("%s: %s", what, error)


def _methods_of(run_params: dict[str, Any]) -> list[str]:
    known = {*(method.name for method in all_methods()), SWEEP}
    names = run_params["pipeline_names"] or ["__default__"]
    return sorted({"cit" if name == "__default__" else name for name in names} & known)


def _plain(node_name: str) -> str:
    return node_name.rpartition(".")[2]


def _changed(made: dict[str, str], now: dict[str, Any]) -> str:
    """Name the parameters that both have, not alike, and that are more than a matter of cost."""
    return ", ".join(
        f"{name} {made[name]}, now {value}"
        for name, value in sorted(now.items())
        if name.rpartition(".")[2] not in _COST_ONLY and made.get(name, text(value)) != text(value)
    )


def _git_tags(root: Path) -> dict[str, str]:
    if shutil.which("git") is None:
        return {}

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        return result.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changed = "yes" if git("status", "--porcelain", "--", "src", "conf") else "no"
    return {"mlflow.source.git.commit": commit, "git_uncommitted_changes": changed}
