"""What MLflow's store knows of every checkpoint: its run, and which pairs it was trained on."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset

from vl_pipeline.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

LINEAGE_FOLDER = "lineage"
"""Where a run's artifacts hold tables of pairs, each as `<trained_pairs_digest>.parquet`."""

LINEAGE_COLUMNS = ("uid", "image_hash", "url")


@dataclass(frozen=True, kw_only=True)
class TrackedCheckpoint:
    """One checkpoint that a run made, whether or not its files are still there.

    Attributes:
        run_id: MLflow's name of the run.
        run_name: The run's name for people.
        experiment: That the run is in.
        method: That was trained.
        path: Where the checkpoint was written.
        weights_digest: What the weights are.
        pairs: Columns `LINEAGE_COLUMNS`, one row per pair trained on; None where that is not known.
        why_unknown: Why `pairs` is None.
    """

    run_id: str
    run_name: str
    experiment: str
    method: str
    path: str
    weights_digest: str
    pairs: pa.Table | None
    why_unknown: str


def tracking_uri(database: Path) -> str:
    """Give the address of the store: MLFLOW_TRACKING_URI, else the SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database}"


class TrackedCheckpointsDataset(AbstractDataset[None, Iterator[TrackedCheckpoint]]):
    """Every checkpoint of every run, deleted runs too, in every experiment of MLflow's store."""

    def __init__(self, *, filepath: str) -> None:
        """Take the SQLite file that is the store where MLFLOW_TRACKING_URI is not set."""
        self._path = Path(filepath)

    def load(self) -> Iterator[TrackedCheckpoint]:
        uri = tracking_uri(self._path)
        if uri == f"sqlite:///{self._path}" and not self._path.exists():
            raise TrackingError(
                f"{self._path}: there is no MLflow store, so nothing is known of any run; set "
                f"MLFLOW_TRACKING_URI to the store that the runs were tracked in"
            )
        return _checkpoints(uri)

    def save(self, data: None) -> None:
        """Nothing is saved: hooks track the runs."""

    def _describe(self) -> dict[str, Any]:
        return {"store": tracking_uri(self._path)}


def _checkpoints(uri: str) -> Iterator[TrackedCheckpoint]:
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # read when MLflow is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    try:
        for experiment in _pages(client.search_experiments, view_type=ViewType.ALL):
            runs = _pages(
                client.search_runs,
                experiment_ids=[experiment.experiment_id],
                run_view_type=ViewType.ALL,
            )
            for run in runs:
                for output in run.outputs.model_outputs if run.outputs else []:
                    model = client.get_logged_model(output.model_id)
                    yield _checkpoint(client, experiment.name, run, model)
    except MlflowException as error:
        raise TrackingError(f"{uri}: cannot be read ({error}); is it MLflow's store?") from error


def _checkpoint(
    client: "MlflowClient", experiment: str, run: "Run", model: "LoggedModel"
) -> TrackedCheckpoint:
    params = model.params or {}
    pairs, why = _pairs(client, run.info.run_id, params.get("trained_pairs_digest"))
    return TrackedCheckpoint(
        run_id=run.info.run_id,
        run_name=str(run.info.run_name),
        experiment=experiment,
        method=run.data.tags.get("method", ""),
        path=params.get("path", ""),
        weights_digest=params.get("weights_digest", ""),
        pairs=pairs,
        why_unknown=why,
    )


def _pairs(client: "MlflowClient", run_id: str, digest: str | None) -> tuple[pa.Table | None, str]:
    """Read the table of pairs, or say why it cannot be read: no doubt may look like a clean run."""
    from mlflow.exceptions import MlflowException

    if not digest:
        return None, "its checkpoint has no trained_pairs_digest"
    wanted = f"{LINEAGE_FOLDER}/{digest}.parquet"
    try:
        if wanted not in {file.path for file in client.list_artifacts(run_id, LINEAGE_FOLDER)}:
            return None, f"the run has no artifact {wanted}"
        with tempfile.TemporaryDirectory() as folder:
            file = client.download_artifacts(run_id, wanted, folder)
            return pq.read_table(file, columns=list(LINEAGE_COLUMNS), memory_map=False), ""
    except (MlflowException, OSError, pa.ArrowException) as error:
        return None, f"{wanted} cannot be read: {error}"


def _pages(search: Any, **query: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(**query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
