"""Pools behind a URL, served on this machine by a server that fails when told to."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes import distinct_picture, pair_members, write_side_table, write_tar
from tests.servers import serving
from tests.sources import images_of, read_pool, write_files
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.sources import remote
from vl_pipeline.data.sources.folder import folder_at, list_files
from vl_pipeline.errors import ShardError

PICTURES = [distinct_picture(n) for n in range(4)]
PARTS = [
    pair_members(f"{n:03d}", caption=f"caption {n}", image=image)
    for n, image in enumerate(PICTURES)
]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def server(tmp_path):
    write_tar(tmp_path / "pool/0.tar", *PARTS[:2])
    write_tar(tmp_path / "pool/1.tar", *PARTS[2:])
    with serving(tmp_path / "pool") as server:
        yield server


def test_shards_are_indexed_and_read_back_by_range(tmp_path, server):
    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")
    server.requested.clear()

    assert images_of(index, server.url, tmp_path / "scratch") == PICTURES
    assert index.pairs["shard"].to_pylist() == ["0.tar", "0.tar", "1.tar", "1.tar"]
    assert not (tmp_path / "scratch/plain").exists()
    offset, size = (index.pairs[name][3].as_py() for name in ("image_offset", "image_bytes"))
    assert ("GET", "1.tar", f"bytes={offset}-{offset + size - 1}") in server.requested
    assert all(span for method, _, span in server.requested if method == "GET")


def test_remote_pool_has_the_rows_of_the_same_pool_on_disk(tmp_path, server):
    far = read_pool(server.url, tmp_path / "far", shards="{0..1}.tar")
    near = read_pool(tmp_path / "pool", tmp_path / "near", shards="{0..1}.tar")

    assert far.pairs.equals(near.pairs)


def test_side_table_behind_a_url_is_read(tmp_path, server):
    rows = [("000", "success", None), ("9", "failed_to_download", "404")]
    write_side_table(tmp_path / "pool/0.tar", rows)

    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")

    assert count_by_rule(index.ledger) == {"failed_to_download": 1}


@pytest.mark.parametrize("name", ["0.tgz", "0.tar.gz"])
def test_gzip_tar_behind_a_url_gets_a_plain_form(tmp_path, server, name):
    content = gzip.compress((tmp_path / "pool/0.tar").read_bytes())
    write_files(tmp_path / "pool", {name: content})
    index = read_pool(server.url, tmp_path / "scratch", shards=name)

    assert images_of(index, server.url, tmp_path / "scratch") == PICTURES[:2]


def test_pictures_in_a_folder_behind_a_url_are_read_in_place(tmp_path, server):
    table = [{"file_name": "a b.jpg", "text": "one"}, {"file_name": "gone.jpg", "text": "two"}]
    lines = "\n".join(json.dumps(row) for row in table).encode()
    files = {"set/a b.jpg": PICTURES[0], "set/metadata.jsonl": lines, "set/c.jpg": PICTURES[1]}
    write_files(tmp_path / "pool", {**files, "set/c.txt": b"three"})

    index = read_pool(f"{server.url}/set", tmp_path / "scratch", shards="*")

    assert dict(
        zip(index.pairs["shard"].to_pylist(), index.pairs["caption"].to_pylist(), strict=True)
    ) == {"a b.jpg": "one", "c.jpg": "three"}
    assert count_by_rule(index.ledger) == {"missing_image": 1}
    assert images_of(index, f"{server.url}/set", tmp_path / "scratch") == PICTURES[:2]


def test_parquet_behind_a_url_is_told_by_its_end(tmp_path, server):
    named = pa.table({"file_name": ["a.jpg"], "text": ["named"]})
    pictured = pa.table({"image": [PICTURES[1]], "text": ["pictured"]})
    write_files(tmp_path / "pool", {"set/a.jpg": PICTURES[0]})
    for name, table in {"named": named, "pictured": pictured}.items():
        pq.write_table(table, tmp_path / f"pool/set/{name}.parquet")
    url = f"{server.url}/set"

    index = read_pool(url, tmp_path / "scratch", shards="*")

    captions, shards = (index.pairs[name].to_pylist() for name in ("caption", "shard"))
    assert dict(zip(captions, shards, strict=True)) == {
        "named": "a.jpg",
        "pictured": "pictured.parquet",
    }
    assert index.ledger.num_rows == 0


def test_parquet_of_addresses_behind_a_url_is_sent_to_the_download(tmp_path, server):
    table = pa.table({"url": ["http://a.example/1.jpg"], "caption": ["one"]})
    pq.write_table(table, tmp_path / "pool/list.parquet")

    with pytest.raises(ShardError, match=r"list\.parquet: holds addresses of pictures"):
        read_pool(server.url, tmp_path / "scratch", shards="list.parquet")


def test_connection_that_is_cut_while_indexing_costs_a_try(tmp_path, server):
    server.cuts["0.tar"] = 2

    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")

    assert server.cuts["0.tar"] == 0
    assert index.pairs.num_rows == 4
    assert index.ledger.num_rows == 0


def test_cut_copy_goes_on_at_the_range_that_broke(tmp_path, server, monkeypatch):
    monkeypatch.setattr(remote, "_COPY_BYTES", 2048)
    size = (tmp_path / "pool/0.tar").stat().st_size
    server.cuts["0.tar"] = 1

    read_pool(server.url, tmp_path / "scratch", shards="0.tar")

    spans = [span for method, name, span in server.requested if (method, name) == ("GET", "0.tar")]
    starts = [int(span.removeprefix("bytes=").partition("-")[0]) for span in spans if span]
    assert set(range(0, size, 2048)) <= set(starts)
    assert len(starts) <= size // 2048 + 4  # the cut one again, and both ends for the stamp


def test_connection_that_is_cut_while_an_image_is_read_costs_a_try(tmp_path, server):
    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")
    images = PoolImages(index.pairs, server.url)
    assert images.read(0) == PICTURES[0]

    server.cuts["0.tar"] = 2
    server.refusals["0.tar"] = 1

    assert images.read(1) == PICTURES[1]
    assert server.cuts["0.tar"] == server.refusals["0.tar"] == 0


@pytest.mark.parametrize("fault", ["cuts", "refusals"])
def test_fault_that_stays_is_given_up_and_named(tmp_path, server, fault):
    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")
    images = PoolImages(index.pairs, server.url)

    getattr(server, fault)["1.tar"] = 10**6
    server.requested.clear()

    with pytest.raises(ShardError, match=r"1\.tar, bytes \d+ to \d+: .* 5 of 5 tries"):
        images.read(3)
    assert len(server.requested) == remote.NUM_TRIES


def test_fault_while_indexing_stops_and_finished_shards_are_kept(tmp_path, server):
    server.refusals["1.tar"] = 10**6
    with pytest.raises(ShardError, match=r"1\.tar: cannot be read"):
        read_pool(server.url, tmp_path / "scratch", shards="*.tar")

    server.refusals["1.tar"] = 0
    server.requested.clear()
    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")

    assert index.pairs.num_rows == 4
    read = [name for method, name, span in server.requested if span and "-65535" not in span]
    assert "0.tar" not in read


def test_shard_that_changed_on_the_server_is_indexed_anew_and_its_images_are_refused(
    tmp_path, server
):
    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")
    images = PoolImages(index.pairs, server.url)

    write_tar(tmp_path / "pool/0.tar", *PARTS[1::-1])

    with pytest.raises(ShardError, match="changed since ingest"):
        images.read(0)
    again = read_pool(server.url, tmp_path / "scratch", shards="*.tar")
    assert again.pairs["caption"].to_pylist()[:2] == ["caption 1", "caption 0"]


@pytest.mark.parametrize("status", [404, 403])
def test_shard_that_is_not_there_is_named_without_tries(tmp_path, server, status):
    server.status_of_absent = status

    with pytest.raises(ShardError, match=r"2\.tar: does not exist"):
        read_pool(server.url, tmp_path / "scratch", shards="{0..2}.tar")

    assert sum(name == "2.tar" for _, name, _ in server.requested) <= 2


def test_side_table_that_may_not_be_looked_for_is_taken_as_absent(tmp_path, server):
    server.status_of_absent = 403

    assert read_pool(server.url, tmp_path / "scratch", shards="*.tar").pairs.num_rows == 4


def test_glob_that_names_nothing_is_refused(server):
    with pytest.raises(ShardError, match=r"no shard matches '\*\.zip' in http://127"):
        list_files(server.url, "*.zip")


def test_server_without_ranges_costs_time_and_no_wrong_bytes(tmp_path, server):
    server.knows_ranges = False

    index = read_pool(server.url, tmp_path / "scratch", shards="*.tar")

    assert images_of(index, server.url, tmp_path / "scratch") == PICTURES


def test_server_that_is_not_there_is_named(tmp_path, server):
    server.shutdown()
    server.server_close()

    with pytest.raises(ShardError, match=r"http://127.* cannot be read, after 5 of 5 tries"):
        read_pool(server.url, tmp_path / "scratch", shards="{0..1}.tar")


@pytest.mark.parametrize("url", ["s3://bucket/pool", "nonsense://bucket"])
def test_url_that_nothing_installed_can_read_is_named(url):
    if url.startswith("s3"):
        try:
            import s3fs  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError:
            pass
        else:
            pytest.skip("s3fs is installed")

    with pytest.raises(ShardError, match=r"pool\.folder is .*vl_pipeline\[cloud\]"):
        folder_at(url)


def test_any_file_system_of_fsspec_will_do(tmp_path, server):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/pool/0.tar", (tmp_path / "pool/0.tar").read_bytes())

    index = read_pool("memory://bucket/pool", tmp_path / "scratch", shards="*.tar")

    assert images_of(index, "memory://bucket/pool", tmp_path / "scratch") == PICTURES[:2]
