"""Datasets in one file each: tables, JSON and text."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset, CatalogProtocol, DatasetError

from vl_pipeline.data.atomic import atomic_file, write_json, write_table
from vl_pipeline.errors import VlPipelineError

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class PathDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """A dataset at one local path, whose errors on purpose are not wrapped in Kedro's."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have what Kedro makes of `load` and `save` let the project's own errors out."""
        super().__init_subclass__(**kwargs)
        for name in ("load", "save"):
            setattr(cls, name, _letting_own_errors_out(getattr(cls, name)))

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Take the path, and what DVC and MLflow are to do with it (`docs/pipeline.md`)."""
        self.path = Path(filepath)
        self.metadata = metadata or {}

    def _exists(self) -> bool:
        return self.path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.path)}


def _letting_own_errors_out(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except DatasetError as error:
            own = error.__cause__
            if not isinstance(own, VlPipelineError):
                raise
        raise own

    return call


def dataset_named(catalog: CatalogProtocol, name: str) -> PathDataset[Any, Any]:
    """Look up a data set that the catalog, or one of its patterns, declares.

    Raises:
        KeyError: If it is not declared, or is of another project's type.
    """
    dataset = catalog.get(name)
    if not isinstance(dataset, PathDataset):
        raise KeyError(f"'{name}' is not declared in conf/base/catalog_*.yml")
    return dataset


class TableDataset(PathDataset[pa.Table, pa.Table]):
    """A `pyarrow.Table` in a Parquet file."""

    def load(self) -> pa.Table:
        return pq.read_table(self.path)

    def save(self, data: pa.Table) -> None:
        write_table(self.path, data)


class JsonDataset(PathDataset[Any, Any]):
    """Anything JSON can hold; NaN and infinity are refused, because JSON has none."""

    def load(self) -> Any:
        return json.loads(self.path.read_text())

    def save(self, data: Any) -> None:
        write_json(self.path, data)


class TextDataset(PathDataset[str, str]):
    """UTF-8 text, such as an HTML page."""

    def load(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        with atomic_file(self.path) as temporary:
            temporary.write_text(data, encoding="utf-8")
