"""Write one MLflow run: parameters, tags, metrics, curves, artifacts, data set and model."""

import fcntl
import json
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vl_pipeline.data.atomic import write_table
from vl_pipeline.data.digest import digest_of_bytes, digest_of_files
from vl_pipeline.data.process import ProcessId
from vl_pipeline.datasets.tracked_runs import LINEAGE_COLUMNS, LINEAGE_FOLDER, tracking_uri
from vl_pipeline.hooks.flatten import flatten

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

_KEY_TAG = "run_key"
_PARENT_TAG = "mlflow.parentRunId"
_PROCESS_TAG = "process"
_DESCRIPTION_TAG = "mlflow.note.content"  # Markdown, shown on the run's first page
_MAX_TAG = 5000  # characters that MLflow stores of a tag
_METRICS_AT_ONCE = 1000  # MLflow's limits for one batch
_PARAMETERS_AT_ONCE = 100


@dataclass(frozen=True)
class Store:
    """An MLflow store and the experiment in it."""

    client: "MlflowClient"
    experiment_id: str


def open_store(root: Path, experiment: str) -> Store:
    """Open the tracking store: MLFLOW_TRACKING_URI, or `mlflow.db` under `root`.

    The schema and the experiment are made under a lock: processes that make them at the same
    time break each other. Artifacts of a local store get an absolute place under `root`, because
    DVC runs queued experiments in folders that it deletes.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # read when MLflow is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    uri = tracking_uri(root / "mlflow.db")
    wanted = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if not wanted:  # MLflow sets it, and another project of this process would follow it
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    with open(root / "mlflow.db.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = mlflow.MlflowClient(uri)  # makes the schema
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return Store(client, found.experiment_id)
        place = (root / "mlartifacts").as_uri() if uri.startswith("sqlite") else None
        return Store(client, client.create_experiment(experiment, artifact_location=place))


def end_killed_runs(store: Store) -> None:
    """End the runs that nobody could end: those whose process was killed on this machine."""
    running = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    for run in running:
        process = ProcessId.from_json(run.data.tags.get(_PROCESS_TAG, ""))
        if process is not None and process.has_ended():
            store.client.set_terminated(run.info.run_id, "KILLED")


def parameters_of_makers(store: Store, name: str, digest: str) -> list[dict[str, str]]:
    """Give the parameters of each run that logged this content of a data set."""
    runs = store.client.search_runs(
        [store.experiment_id], f"tags.`{_logged_tag(name)}` = '{digest}'"
    )
    return [run.data.params for run in runs]


def digest_of_path(path: Path) -> str:
    """Digest of a file, or of a folder's files by name."""
    if path.is_file():
        return digest_of_bytes(path.read_bytes())
    return digest_of_files(path, sorted(file for file in path.rglob("*") if file.is_file()))


class RunLog:
    """One run, written to under its id: no state of MLflow's is shared with other code."""

    def __init__(self, store: Store, run_id: str, name: str, tags: dict[str, str]) -> None:
        """Take an existing run; see `find_or_create`."""
        self.run_id = run_id
        self.name = name
        self._client = store.client
        self._experiment_id = store.experiment_id
        self._tags = tags

    @classmethod
    def find_or_create(cls, store: Store, *, method: str, key: str) -> "RunLog":
        """Find the run with this key and open it again, or make it."""
        found = store.client.search_runs(
            [store.experiment_id], f"tags.{_KEY_TAG} = '{key}'", max_results=1
        )
        if found:
            run = found[0]
            store.client.update_run(run.info.run_id, status="RUNNING")
            if "error" in run.data.tags:
                store.client.delete_tag(run.info.run_id, "error")
        else:
            run = store.client.create_run(
                store.experiment_id, run_name=f"{method}-{key[:8]}", tags={_KEY_TAG: key}
            )
        log = cls(store, run.info.run_id, str(run.info.run_name), dict(run.data.tags))
        log.tags({_PROCESS_TAG: ProcessId.of_this().to_json()})
        return log

    def parameters(self, values: dict[str, Any]) -> None:
        """Log parameters; those of a run that is opened again are the same by construction."""
        from mlflow.entities import Param

        params = [Param(key, text(value)) for key, value in values.items()]
        for start in range(0, len(params), _PARAMETERS_AT_ONCE):
            self._client.log_batch(self.run_id, params=params[start : start + _PARAMETERS_AT_ONCE])

    def tags(self, values: dict[str, str]) -> None:
        """Set tags."""
        for key, value in values.items():
            self._client.set_tag(self.run_id, key, value[:_MAX_TAG])

    def metrics(self, values: dict[str, float]) -> None:
        """Log metrics without a step."""
        self._points([(name, value, 0) for name, value in values.items()])

    def close(self, status: str) -> None:
        """End the run."""
        self._client.set_terminated(self.run_id, status)

    def once(self, name: str, digest: str, path: Path, spec: dict[str, Any]) -> None:
        """Log a data set as its catalog entry says, unless this content of it was logged before.

        Args:
            name: The data set's.
            digest: Of its content.
            path: Its file or folder.
            spec: `metadata.mlflow` of the catalog: `kind`, and what the kind takes.
        """
        tag = _logged_tag(name)
        if self._tags.get(tag) == digest:
            return
        getattr(self, f"_log_{spec['kind']}")(path, spec)
        self._tags[tag] = digest
        self.tags({tag: digest})

    def _log_metrics(self, path: Path, spec: dict[str, Any]) -> None:
        values = flatten(json.loads(path.read_text()), separator="_")
        self.metrics({f"{spec['prefix']}/{k}": v for k, v in values.items() if _is_number(v)})
        self.tags({k: v for k, v in values.items() if k.endswith("_digest")})

    def _log_curve(self, path: Path, spec: dict[str, Any]) -> None:
        self._curve(json.loads(path.read_text()), spec)

    def _curve(self, records: list[dict[str, Any]], spec: dict[str, Any]) -> None:
        self._points(
            [
                (f"{spec['prefix']}/{name}", value, int(record[spec["step"]]))
                for record in records
                for name, value in record.items()
                if _is_number(value) and name != spec["step"]
            ]
        )

    def _log_child_runs(self, path: Path, spec: dict[str, Any]) -> None:
        """Make a run below this one for each cell of a sweep that has none yet."""
        query = f"tags.`{_PARENT_TAG}` = '{self.run_id}'"
        found = self._client.search_runs([self._experiment_id], query, max_results=50000)
        whole = ("FINISHED", "FAILED")
        known = {run.data.tags.get(_KEY_TAG) for run in found if run.info.status in whole}
        for cell in json.loads(path.read_text()):
            if cell["key"] not in known:
                self._log_cell(cell)

    def _log_cell(self, cell: dict[str, Any]) -> None:
        value = "" if cell["value"] is None else f"-{cell['value']:g}"
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"{cell['strategy']}{value}-seed{cell['seed']}",
            tags={
                _PARENT_TAG: self.run_id,
                _KEY_TAG: cell["key"],
                _PROCESS_TAG: ProcessId.of_this().to_json(),
                "method": cell["method"],
            },
        )
        log = RunLog(Store(self._client, self._experiment_id), run.info.run_id, "", {})
        named = {n: cell[n] for n in ("strategy", "value", "seed", "method") if cell[n] is not None}
        log.parameters({**named, **flatten(cell["parameters"])})
        if "error" in cell:
            log.tags({"error": cell["error"]})
            log.close("FAILED")
            return
        for prefix, values in (
            ("curation", cell["curation"]),
            ("training", cell["training"]),
            ("eval", flatten(cell["metrics"], separator="_")),
        ):
            log.metrics({f"{prefix}/{k}": v for k, v in values.items() if _is_number(v)})
        log.metrics({"time/train_seconds": cell["seconds"]})
        for records, curve in (
            ("history", {"prefix": "train", "step": "step"}),
            ("rounds", {"prefix": "curation_round", "step": "round"}),
            ("validation", {"prefix": "val", "step": "step"}),
        ):
            log._curve(cell[records], curve)
        log.close("FINISHED")

    def _log_artifact(self, path: Path, spec: dict[str, Any]) -> None:
        if path.is_file():
            self._client.log_artifact(self.run_id, str(path), spec["prefix"])
        else:
            self._client.log_artifacts(self.run_id, str(path), spec["prefix"])

    def _log_description(self, path: Path, spec: dict[str, Any]) -> None:
        self.tags({_DESCRIPTION_TAG: path.read_text()})
        self._log_artifact(path, spec)

    def _log_curated_set(self, path: Path, spec: dict[str, Any]) -> None:
        import pyarrow.parquet as pq
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        from vl_pipeline.curation.manifest import digest_of_manifest

        with warnings.catch_warnings():  # MLflow finds the same source twice and says so
            warnings.simplefilter("ignore", UserWarning)
            source = resolve_dataset_source(str(path))
        table = pq.read_table(path)
        digest = digest_of_manifest(table)
        dataset = MetaDataset(source=source, name=spec["name"], digest=digest)
        tags = [InputTag("mlflow.data.context", spec["name"])]
        self._client.log_inputs(
            self.run_id, datasets=[DatasetInput(dataset._to_mlflow_entity(), tags)]
        )
        if spec.get("keep"):
            self._keep_lineage(table, digest)

    def _keep_lineage(self, pairs: "pa.Table", digest: str) -> None:
        """Keep which pairs were trained on, by their digest, for when all other files are gone."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{digest}.parquet"
            names = list(LINEAGE_COLUMNS)
            write_table(file, pairs.group_by(names, use_threads=False).aggregate([]))
            self._client.log_artifact(self.run_id, str(file), LINEAGE_FOLDER)

    def _log_checkpoint(self, path: Path, spec: dict[str, Any]) -> None:
        """Register the checkpoint without copying it: its bytes stay with DVC."""
        import mlflow
        from mlflow.entities import LoggedModelOutput

        lineage = json.loads((path / "lineage.json").read_text())
        digests = {k: v for k, v in lineage.items() if k.endswith("_digest")}
        model = mlflow.create_external_model(
            name=lineage["method"],
            source_run_id=self.run_id,
            experiment_id=self._experiment_id,
            model_type="dual_encoder",
            params={"path": _shown(path), "architecture": lineage["model"]["name"], **digests},
        )
        step = int(lineage["training"]["num_steps"])
        self._client.log_outputs(self.run_id, models=[LoggedModelOutput(model.model_id, step)])

    def _points(self, points: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value, step in points]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])


def _logged_tag(name: str) -> str:
    return f"logged.{name}"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> str:
    """Write a parameter's value as it is logged."""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
