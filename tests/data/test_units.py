"""Units of an ingest are finished once: an interrupted call goes on, a change is noticed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.fakes import distinct_picture, pair_members, write_side_table, write_tar
from tests.servers import serving
from tests.sources import read_pool, write_files
from vl_pipeline.data import shards
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.sources import plan


def write_pool(tmp_path, num_shards=3):
    for number in range(num_shards):
        write_tar(
            tmp_path / f"pool/{number}.tar", pair_members("a", image=distinct_picture(number))
        )
    return tmp_path / "pool"


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the archives and pictures that were read."""
    names: list[str] = []
    index_archive, index_bunch = shards._index_archive, shards.index_bunch

    def archive(folder, name, *rest):
        names.append(name)
        return index_archive(folder, name, *rest)

    def bunch(folder, unit, **settings):
        names.extend(pair.picture for pair in unit.pairs)
        return index_bunch(folder, unit, **settings)

    monkeypatch.setattr(shards, "_index_archive", archive)
    monkeypatch.setattr(shards, "index_bunch", bunch)
    return names


def test_finished_unit_is_not_read_again_and_comes_out_the_same(tmp_path, read):
    folder = write_pool(tmp_path)
    first = read_pool(folder, tmp_path / "scratch")
    assert read == ["0.tar", "1.tar", "2.tar"]
    read.clear()

    again = read_pool(folder, tmp_path / "scratch")

    assert read == []
    assert again.pairs.equals(first.pairs)
    assert again.pairs.schema.equals(first.pairs.schema, check_metadata=True)
    assert again.num_listed == first.num_listed


def test_shard_or_side_table_that_changed_is_read_again(tmp_path, read):
    folder = write_pool(tmp_path)
    read_pool(folder, tmp_path / "scratch")
    read.clear()

    write_tar(folder / "1.tar", pair_members("a", image=distinct_picture(7)))
    write_side_table(folder / "2.tar", [("b", "failed_to_download", "404")])
    index = read_pool(folder, tmp_path / "scratch")

    assert read == ["1.tar", "2.tar"]
    assert count_by_rule(index.ledger) == {"failed_to_download": 1}


def test_picture_or_caption_that_changed_has_its_bunch_read_again(tmp_path, read, monkeypatch):
    monkeypatch.setattr(plan, "_BUNCH_PAIRS", 2)
    files = {f"{n}.jpg": distinct_picture(n) for n in range(5)}
    folder = write_files(tmp_path / "pool", files | {f"{n}.txt": b"before" for n in range(5)})
    read_pool(folder, tmp_path / "scratch")
    assert read == [f"{n}.jpg" for n in range(5)]
    read.clear()

    write_files(folder, {"3.txt": b"after"})
    index = read_pool(folder, tmp_path / "scratch")

    assert read == ["2.jpg", "3.jpg"]
    assert index.pairs["caption"].to_pylist() == ["before", "before", "before", "after", "before"]


def test_damaged_result_of_a_unit_is_made_again(tmp_path, read):
    folder = write_pool(tmp_path)
    first = read_pool(folder, tmp_path / "scratch")
    for file in (tmp_path / "scratch/ingest").rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    read.clear()

    again = read_pool(folder, tmp_path / "scratch")

    assert read == ["0.tar", "1.tar", "2.tar"]
    assert again.pairs.equals(first.pairs)


PROGRAM = """
import sys
from pathlib import Path
from vl_pipeline.data.pairs import PairLimits
from vl_pipeline.data.shards import PoolShards, index_pool
if __name__ == "__main__":
    names = ("max_pixels", "max_image_bytes", "max_json_bytes", "max_caption_bytes")
    names = (*names, "max_plain_bytes")
    limits = PairLimits(**dict.fromkeys(names, 10**6))
    pool = PoolShards(folder=sys.argv[1], shards="{0..2}.tar", limits=limits, num_workers=1)
    index = index_pool(pool, scratch=Path(sys.argv[2]), plain_forms=Path(sys.argv[3]))
    print(index.num_listed)
"""


def test_killed_ingest_goes_on_with_what_was_finished(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with serving(write_pool(tmp_path)) as server:
        command = [sys.executable, str(program), server.url]
        command += [str(tmp_path / "scratch" / name) for name in ("ingest", "plain")]
        server.stalls.add("1.tar")
        process = subprocess.Popen(command, start_new_session=True)
        try:
            _wait_for(lambda: ("HEAD", "1.tar", None) in server.requested, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        server.stalls.clear()
        server.requested.clear()

        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said.strip() == "3"
    size = (tmp_path / "pool/0.tar").stat().st_size
    read = {name for _, name, span in server.requested if span == f"bytes=0-{size - 1}"}
    assert read == {"1.tar", "2.tar"}


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with serving(write_pool(tmp_path)) as server:
        server.stalls.add("1.tar")
        command = [sys.executable, str(program), server.url, *map(str, [tmp_path] * 2)]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            _wait_for(lambda: ("HEAD", "1.tar", None) in server.requested, process)
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()

            _, alive = psutil.wait_procs(workers, timeout=20)

            assert len(workers) > 0
            assert alive == []
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(is_reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not is_reached():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
