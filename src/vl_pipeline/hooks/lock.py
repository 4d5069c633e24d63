"""Two runs at once: a run locks what it writes for itself, and what it reads against writers.

What a lock is, `data.locks` says.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from vl_pipeline.data.locks import TakenError, take_lock
from vl_pipeline.datasets.files import PathDataset
from vl_pipeline.datasets.folders import ScratchDataset
from vl_pipeline.errors import InUseError
from vl_pipeline.hooks.summary import REPORTS


class RunLocks:
    """Refuses to start a run that would disturb, or be disturbed by, one that is going on."""

    def __init__(self) -> None:
        self._held: list[int] = []

    @hook_impl(wrapper=True)  # before all others: a run that is refused leaves no trace in MLflow
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Lock; let go should another hook stop the run before it starts."""
        self.take(pipeline, catalog)
        try:
            return (yield)
        except BaseException:
            self.release()
            raise

    @hook_impl(wrapper=True)
    def after_pipeline_run(self) -> Generator[None, Any, Any]:
        """Let go when all other hooks are done."""
        try:
            return (yield)
        finally:
            self.release()

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, Any, Any]:
        """Let go when all other hooks are done."""
        try:
            return (yield)
        finally:
            self.release()

    def take(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Lock what the run's nodes write and read.

        Raises:
            InUseError: If another run writes one of these, or reads what this one writes.
        """
        self.release()
        data = _data_of(pipeline, catalog)
        try:
            for path in sorted(data):  # one order for all runs: of two, one gets through
                name, is_written = data[path]
                self._lock(name, path, exclusive=is_written)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of everything."""
        while self._held:
            os.close(self._held.pop())

    def _lock(self, name: str, path: Path, *, exclusive: bool) -> None:
        try:
            self._held.append(take_lock(path, exclusive=exclusive))
        except TakenError as taken:
            raise _refusal(name, path, str(taken), exclusive=exclusive) from taken
        except OSError:
            if exclusive:
                raise
            # nothing to read, or where nobody can write


def _data_of(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[Path, tuple[str, bool]]:
    """Paths that the nodes of a run touch: the data set's name, and whether it is written."""
    written = set(pipeline.all_outputs())
    for node in pipeline.nodes:
        method, _, stage = node.name.rpartition(".")
        if method and stage == "evaluate":
            written |= {f"{method}.{report}" for report in REPORTS}
    data: dict[Path, tuple[str, bool]] = {}
    for name in pipeline.datasets() | written:
        if name.startswith("params:"):
            continue
        dataset = catalog.get(name)
        if isinstance(dataset, PathDataset):
            is_written = name in written or isinstance(dataset, ScratchDataset)
            data[dataset.path] = (name, is_written)
    return data


def _refusal(name: str, path: Path, who: str, *, exclusive: bool) -> InUseError:
    does = "is in use by" if exclusive else "is being written by"
    return InUseError(
        f"{path} ('{name}') {does} another run ({who}), and this run "
        f"{'writes' if exclusive else 'reads'} it; wait for that run to end or stop it, or run "
        f"only nodes that leave '{name}' alone (--from-nodes, --nodes); nothing was changed"
    )
