"""img2dataset itself, against a server on this machine; no other network."""

import importlib.util
import json
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import TypeAdapter

from tests.fakes import LIMITS
from tests.image_server import ImageServer, serve_images
from tests.projects import ROOT, copy_project, run
from vl_pipeline.data.download import Download, download
from vl_pipeline.data.download.run import ENVIRONMENT, find_python
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.shards import PoolShards, ShardIndex, index_pool
from vl_pipeline.errors import InUseError, ParameterError, ShardError

GOOD = [*(f"/{number}.jpg" for number in range(4)), "/chunked/4.jpg"]
BAD = {
    "/missing/1.jpg": "http_404",
    "/page/1.jpg": "not_an_image",
    "/cut/1.jpg": "incomplete",
    "/huge/1.jpg": "too_long",
    "/dripping/1.jpg": "too_slow",
    "/silent/1.jpg": "timed_out",
    "/disallowed/1.jpg": "disallowed",
}
FLAKY = ["/flaky/7.jpg", "/flaky/8.jpg"]


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has img2dataset: this one, with the extra, or that of `ENVIRONMENT`."""
    if importlib.util.find_spec("img2dataset") is not None:
        return Path(sys.executable)
    path = ROOT / ENVIRONMENT / "bin/python"
    if not path.exists():
        pytest.skip(f"img2dataset is not there: `make {ENVIRONMENT}/installed` installs it")
    return path


def parameters(folder: Path, python: Path, paths: list[str], server: ImageServer) -> Download:
    """The default, with less patience, for a list of paths of the server."""
    urls = [path if ":" in path else server.root + path for path in paths]
    listed = pa.table({"url": urls, "caption": [f"at {path}" for path in paths]})
    pq.write_table(listed, folder / "urls.parquet")
    base = yaml.safe_load((ROOT / "conf/base/parameters_download.yml").read_text())["download"]
    less_patient = {"timeout_seconds": 3, "max_seconds": 6, "max_bytes": 1_000_000}
    less_patient |= {"allow_private_addresses": True}  # the server is on this machine
    return TypeAdapter(Download).validate_python(
        base
        | {
            "url_list": str(folder / "urls.parquet"),
            "folder": str(folder / "downloaded"),
            "python": str(python),
            "num_processes": 1,
            "requests": base["requests"] | less_patient,
        }
    )


def index_of(download: Download, scratch: Path) -> ShardIndex:
    shards = PoolShards(folder=download.folder, shards="*.tar", limits=LIMITS, num_workers=1)
    return index_pool(shards, scratch=scratch)


def test_hosts_of_the_own_network_are_not_asked_unless_allowed(tmp_path, python):
    with serve_images() as server:
        port = server.root.rpartition(":")[2]
        names = (
            "127.0.0.1",
            "localhost",
            "[::1]",
            "0.0.0.0",
            "2130706433",
        )  # the last is 127.0.0.1
        urls = [f"http://{name}:{port}/1.jpg" for name in names]
        urls += ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/1.jpg"]
        given = parameters(tmp_path, python, urls, server)

        report = download(
            replace(given, requests=replace(given.requests, allow_private_addresses=False))
        )

    assert report["by_error"] == {"private_address": len(urls)}
    assert server.requests.total() == 0


def test_folder_that_another_download_fills_is_refused_at_once(tmp_path):
    with serve_images() as server:
        given = parameters(tmp_path, Path(sys.executable), GOOD, server)
    holder = f"""
import sys, time
from pathlib import Path
from vl_pipeline.data.locks import locked
with locked(Path({given.folder!r}), what="test"):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match=rf"downloaded .*process {process.pid} on"):
            download(given)
    finally:
        process.kill()
        process.communicate()
    assert not Path(given.folder).exists()


def test_what_servers_do_is_told_apart_and_a_retry_asks_for_what_failed_alone(tmp_path, python):
    project = copy_project(tmp_path / "project")
    with serve_images() as server:
        paths = [*GOOD, *BAD, *FLAKY, "file:///etc/hostname"]
        given = replace(parameters(tmp_path, python, paths, server), pairs_per_shard=8)

        run(project, "download", params={"download": asdict(given)})
        first = json.loads((project / "data/08_reporting/download.json").read_text())
        index = index_of(given, tmp_path / "scratch")
        asked_first, server.recovered = server.requests.copy(), True
        run(project, "download", params={"download": asdict(replace(given, retry_failed=True))})
        second = json.loads((project / "data/08_reporting/download.json").read_text())

    kinds = dict.fromkeys(BAD.values(), 1) | {"not_http": 1}
    assert first == {
        "num_listed": 15,
        "num_downloaded": 5,
        "success_fraction": 5 / 15,
        "num_passes": 1,
        "num_shards": 2,
        "by_status": {"success": 5, "failed_to_download": 9, "failed_to_resize": 1},
        "by_error": kinds | {"http_503": 2},
    }
    assert index.num_listed == 15
    assert sorted(index.pairs["caption"].to_pylist()) == [f"at {path}" for path in GOOD]
    assert count_by_rule(index.ledger) == {"failed_to_download": 9, "failed_to_resize": 1}

    assert {path: server.requests[path] - asked_first[path] for path in GOOD} == dict.fromkeys(
        GOOD, 0
    )
    assert [server.requests[path] for path in FLAKY] == [2, 2]
    assert (second["num_downloaded"], second["by_error"]) == (7, kinds)
    assert (second["num_passes"], second["num_shards"]) == (2, 4)
    index = index_of(given, tmp_path / "scratch")
    assert (index.num_listed, index.pairs.num_rows, index.ledger.num_rows) == (15, 7, 8)
    assert all("vl_pipeline" in agent for agent in server.user_agents)


def test_killed_download_started_again_fetches_no_finished_shard_twice(tmp_path, python):
    with serve_images() as server:
        paths = [f"/{number}.jpg" for number in range(12)]
        given = parameters(tmp_path, python, paths, server)
        given = replace(given, pairs_per_shard=4, num_threads=1)
        server.delay_seconds = 0.4
        process = start(given)
        first_shard = Path(given.folder) / "00000.tar"
        wait_for(first_shard.with_name("00000_stats.json"), process)
        time.sleep(1)

        process.kill()
        process.wait()
        time.sleep(1)
        asked, bytes_of_first = server.requests.total(), first_shard.read_bytes()
        time.sleep(1)
        assert asked == server.requests.total(), "img2dataset outlived the process that started it"
        assert asked < 12
        server.delay_seconds = 0.0
        report = download(given)

    assert report["by_status"] == {"success": 12}
    assert [server.requests[path] for path in paths[:4]] == [1, 1, 1, 1]
    assert bytes_of_first == first_shard.read_bytes()
    assert index_of(given, tmp_path / "scratch").num_listed == 12


def start(given: Download) -> subprocess.Popen[bytes]:
    """Start a download in a process of its own."""
    code = (
        "import json, sys; from pydantic import TypeAdapter; "
        "from vl_pipeline.data.download import Download, download; "
        "download(TypeAdapter(Download).validate_python(json.loads(sys.argv[1])))"
    )
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(asdict(given))])


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)


def test_shards_left_unfinished_stop_the_run_and_name_the_log(tmp_path):
    fails = tmp_path / "python"
    fails.write_text("#!/bin/sh\necho out of order\nexit 3\n")
    fails.chmod(0o755)
    with serve_images() as server:
        given = parameters(tmp_path, fails, GOOD, server)

        with pytest.raises(ShardError, match=r"status 3 and left 1 of 1 shards.*img2dataset\.log"):
            download(given)

    log = Path(given.folder) / "_lists/img2dataset.log"
    assert log.read_text() == "out of order\n"


def test_interpreter_is_the_given_one_or_that_of_the_own_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # as without the extra
    own = Path(".venv-img2dataset/bin/python")

    with pytest.raises(ParameterError, match=r"make \.venv-img2dataset/installed"):
        find_python(None)
    with pytest.raises(ParameterError, match="is no file"):
        find_python(str(own))
    own.parent.mkdir(parents=True)
    own.touch()

    assert find_python(None) == own
    assert find_python(sys.executable) == Path(sys.executable)


def test_interpreter_with_the_extra_is_taken_before_the_own_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "img2dataset" or None)
    own = Path(".venv-img2dataset/bin/python")
    own.parent.mkdir(parents=True)
    own.touch()

    assert find_python(None) == Path(sys.executable)


def test_the_extra_and_the_own_environment_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    extra = project["project"]["optional-dependencies"]["img2dataset"]

    assert extra == project["dependency-groups"]["img2dataset"]
