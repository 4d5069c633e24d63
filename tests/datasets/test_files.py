import pyarrow as pa
import pytest
from kedro.io import DatasetError

from vl_pipeline.datasets import FolderDataset, JsonDataset, TableDataset
from vl_pipeline.errors import ShardError


def refuse(_):
    raise ShardError("00000.tar: changed since it was indexed") from OSError("its cause")


def test_errors_on_purpose_come_out_as_they_are(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path / "exported"))

    with pytest.raises(ShardError, match=r"^00000\.tar: changed since it was indexed$") as error:
        dataset.save(refuse)

    assert str(error.value.__cause__) == "its cause"
    assert list(tmp_path.iterdir()) == []


def test_so_they_do_from_a_dataset_that_is_a_kind_of_another(tmp_path):
    class ExportedDataset(FolderDataset):
        pass

    with pytest.raises(ShardError):
        ExportedDataset(filepath=str(tmp_path / "exported")).save(refuse)


def test_other_errors_are_kedros_and_name_the_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"pool\.parquet"):
        TableDataset(filepath=str(tmp_path / "pool.parquet")).load()
    with pytest.raises(DatasetError, match=r"report\.json"):
        JsonDataset(filepath=str(tmp_path / "report.json")).save(float("nan"))


def test_what_is_saved_is_loaded(tmp_path):
    table = pa.table({"uid": ["a", "b"]})
    dataset = TableDataset(filepath=str(tmp_path / "pool.parquet"))

    dataset.save(table)

    assert dataset.load().equals(table)
