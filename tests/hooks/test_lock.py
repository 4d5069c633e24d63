"""Of two runs on the same data the second stops at once and says who holds it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from vl_pipeline.datasets import JsonDataset, ScratchDataset
from vl_pipeline.errors import InUseError
from vl_pipeline.hooks.lock import RunLocks


def catalog_in(folder: Path) -> DataCatalog:
    names = ("pool", "cit.pairs", "random.pairs")
    datasets = {name: JsonDataset(filepath=str(folder / "data" / name)) for name in names}
    scratch = ScratchDataset(filepath=str(folder / "scratch/cit"))
    return DataCatalog({**datasets, "cit.scratch": scratch})


PIPELINES = {
    "ingest": Pipeline([Node(lambda: 1, None, "pool", name="ingest")]),
    "cit": Pipeline([Node(lambda p, s: 1, ["pool", "cit.scratch"], "cit.pairs", name="cit.train")]),
    "random": Pipeline([Node(lambda p: 1, ["pool"], "random.pairs", name="random.train")]),
    "look": Pipeline([Node(lambda s: 1, ["cit.scratch"], "memory", name="look")]),
}


def lock_for(folder: Path, pipeline: str) -> RunLocks:
    (folder / "data").mkdir(exist_ok=True)
    locks = RunLocks()
    locks.take(PIPELINES[pipeline], catalog_in(folder))
    return locks


@contextmanager
def another_run_of(pipeline: str, folder: Path) -> Iterator[int]:
    """Hold the locks of a pipeline in another process; a forked one inherits no lock."""
    reading, writing = os.pipe()
    holder = os.fork()
    if not holder:
        lock_for(folder, pipeline)
        os.write(writing, b"held")
        signal.pause()
    os.close(writing)
    try:
        assert os.read(reading, 4) == b"held"
        yield holder
    finally:
        os.close(reading)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_two_writers_of_one_data_set_may_not_run_at_once(tmp_path: Path) -> None:
    with another_run_of("cit", tmp_path) as holder, pytest.raises(InUseError) as error:
        lock_for(tmp_path, "cit")

    said = str(error.value)
    assert f"process {holder} on {os.uname().nodename}" in said
    assert "running since 2" in said
    assert "python" in said.partition("running since")[2]  # the command
    assert f"{tmp_path / 'data/cit.pairs'} ('cit.pairs')" in said
    assert "wait for that run to end" in said


def test_a_writer_waits_for_readers_and_a_reader_for_writers(tmp_path: Path) -> None:
    with another_run_of("random", tmp_path), pytest.raises(InUseError, match="is in use by"):
        lock_for(tmp_path, "ingest")
    with another_run_of("ingest", tmp_path), pytest.raises(InUseError, match="is being written by"):
        lock_for(tmp_path, "random")


def test_readers_of_one_pool_may_run_side_by_side(tmp_path: Path) -> None:
    with another_run_of("cit", tmp_path):
        lock_for(tmp_path, "random").release()


def test_a_scratch_folder_belongs_to_one_run(tmp_path: Path) -> None:
    with another_run_of("cit", tmp_path), pytest.raises(InUseError, match=r"cit\.scratch"):
        lock_for(tmp_path, "look")


def test_a_killed_holder_keeps_nobody_out(tmp_path: Path) -> None:
    with another_run_of("cit", tmp_path) as holder:
        os.kill(holder, signal.SIGKILL)
        os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)

        lock_for(tmp_path, "cit").release()


@pytest.mark.parametrize("left", ["", "{}", "[" * 100_000, '{"pid": "x"}', "\xff"])
def test_what_stands_in_a_lock_file_never_keeps_a_run_out(tmp_path: Path, left: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.cit.pairs.lock").write_text(left, encoding="latin-1")

    lock_for(tmp_path, "cit").release()


def test_a_run_that_is_refused_lets_go_of_what_it_had_locked(tmp_path: Path) -> None:
    with another_run_of("random", tmp_path):
        with pytest.raises(InUseError):
            locks = RunLocks()
            both = PIPELINES["cit"] + PIPELINES["random"]
            locks.take(both, catalog_in(tmp_path))

        with another_run_of("cit", tmp_path):
            pass


@pytest.mark.parametrize("end", ["before_pipeline_run", "after_pipeline_run", "on_pipeline_error"])
def test_a_run_that_has_ended_or_was_stopped_by_another_hook_lets_others_in(
    tmp_path: Path, end: str
) -> None:
    class Failing:
        @hook_impl
        def before_pipeline_run(self) -> None:
            raise OSError("from another hook")

        after_pipeline_run = on_pipeline_error = before_pipeline_run

    (tmp_path / "data").mkdir()
    manager = _create_hook_manager()
    locks = RunLocks()
    manager.register(Failing())
    manager.register(locks)
    run = {"pipeline": PIPELINES["cit"], "catalog": catalog_in(tmp_path), "run_params": {}}
    if end != "before_pipeline_run":
        locks.take(run["pipeline"], run["catalog"])

    with pytest.raises(OSError, match="from another hook"):
        getattr(manager.hook, end)(**run, run_result={}, error=ValueError())

    with another_run_of("cit", tmp_path):
        pass


def test_workers_of_a_killed_run_do_not_keep_its_locks(tmp_path: Path) -> None:
    locks = lock_for(tmp_path, "cit")
    worker = os.fork()
    if not worker:
        signal.pause()

    locks.release()

    try:
        with another_run_of("cit", tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
