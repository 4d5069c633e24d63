"""On a full disk a run ends with an error that says where, leaves nothing half, and can go on."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.projects import copy_project, run
from vl_pipeline.data.atomic import atomic_file, atomic_folder, write_json, write_table
from vl_pipeline.datasets import TableDataset
from vl_pipeline.embedding.image_source import _map
from vl_pipeline.errors import DiskFullError
from vl_pipeline.training.checkpoint import CheckpointFolder, Progress

SIZE_MB = 2
NOISE = np.random.default_rng(0).integers(0, 256, 4_000_000, dtype=np.uint8)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 2 MB; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_folder(folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "first").write_bytes(b"first")
        np.save(temporary / "second.npy", NOISE)


def fill_safetensors(path: Path) -> None:
    with atomic_file(path) as temporary:
        save_file({"noise": torch.from_numpy(NOISE)}, temporary)


WRITERS: dict[str, Callable[[Path], object]] = {
    "table": lambda path: write_table(path, pa.table({"noise": NOISE})),
    "json": lambda path: write_json(path, NOISE[:1_000_000].tolist()),
    "folder of arrays": fill_folder,
    "safetensors": fill_safetensors,
    "mapped array": lambda path: _map(path, NOISE.shape, np.uint8),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_half_written_stays_on_a_full_disk(small_disk: Path, write) -> None:
    path = small_disk / "output"

    with pytest.raises(DiskFullError, match="no room to write it") as error:
        write(path)

    assert str(path) in str(error.value)
    assert "2.1 MB are free" in str(error.value)  # all of it again
    assert list(small_disk.iterdir()) == []


def test_the_old_output_stays_when_there_is_no_room_for_the_new(small_disk: Path) -> None:
    path = small_disk / "pool.parquet"
    write_table(path, pa.table({"uid": ["old"]}))
    before = path.read_bytes()

    with pytest.raises(DiskFullError):
        WRITERS["table"](path)

    assert before == path.read_bytes()
    assert [path] == list(small_disk.iterdir())


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(small_disk: Path) -> None:
    model = nn.Linear(300, 300)
    checkpoints = CheckpointFolder(small_disk / "checkpoints")
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoints.save(model, optimizer, Progress(step=1, history=[], rounds=[]))
    with open(small_disk / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small_disk).free - 100_000)

    with pytest.raises(DiskFullError, match="step-00000002"):
        checkpoints.save(model, optimizer, Progress(step=2, history=[], rounds=[]))

    assert checkpoints.restore(model, optimizer).step == 1
    (small_disk / "ballast").unlink()
    checkpoints.save(model, optimizer, Progress(step=2, history=[], rounds=[]))
    assert checkpoints.restore(model, optimizer).step == 2


def test_a_run_that_found_no_room_says_where_and_finishes_once_there_is(
    small_disk: Path, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    run(project, "fabricate", params={"fabricated_pool": {"num_pairs": 100}})
    (project / "data/02_intermediate").symlink_to(small_disk)
    with open(small_disk / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small_disk).free - 8_000)

    with pytest.raises(DiskFullError, match=r"indexed_pool\.parquet: no room to write it"):
        run(project, "ingest")

    left = {path.name for path in small_disk.iterdir() if not path.name.endswith(".lock")}
    assert left == {"ballast"}
    (small_disk / "ballast").unlink()
    run(project, "ingest")
    assert (small_disk / "indexed_pool.parquet").exists()


def test_an_error_of_a_full_disk_is_told_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)

    with pytest.raises(DiskFullError, match=r"^\S*pool\.parquet: no room .* MB are free"):
        TableDataset(filepath=str(tmp_path / "pool.parquet")).save(pa.table({"uid": ["a"]}))

    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_file(tmp_path / "a"):
        raise PermissionError(13, "Permission denied")
