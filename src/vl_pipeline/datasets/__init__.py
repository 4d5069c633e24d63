"""Kedro datasets: whole or absent, and equal content gives equal bytes."""

from vl_pipeline.datasets.files import JsonDataset, TableDataset, TextDataset
from vl_pipeline.datasets.folders import FolderDataset, ScratchDataset

__all__ = ["FolderDataset", "JsonDataset", "ScratchDataset", "TableDataset", "TextDataset"]
