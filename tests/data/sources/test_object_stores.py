"""Pools in buckets: S3 as moto plays it, Google Cloud Storage as a server of this package does."""

from urllib.request import Request, urlopen

import pytest

from tests.fakes import LIMITS, distinct_picture, pair_members, write_side_table, write_tar
from tests.servers import FolderServer, serving_bucket, standing_before
from tests.sources import images_of, read_pool
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards, index_pool
from vl_pipeline.data.sources import remote
from vl_pipeline.data.sources.folder import list_files
from vl_pipeline.errors import ShardError

PICTURES = [distinct_picture(n) for n in range(4)]
PARTS = [
    pair_members(f"{n:03d}", caption=f"caption {n}", image=image)
    for n, image in enumerate(PICTURES)
]


class Bucket:
    """A bucket of one of the stores, the folder that is its content, and what stands before it."""

    def __init__(self, url: str, server: FolderServer, put) -> None:
        self.url, self.server, self.put = url, server, put


@pytest.fixture(params=["s3", "gs"])
def bucket(request, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    content = tmp_path / "content"
    write_tar(content / "pool/0.tar", *PARTS[:2])
    write_tar(content / "pool/1.tar", *PARTS[2:])
    write_side_table(content / "pool/0.tar", [("000", "success", None), ("9", "failed", "404")])
    yield from {"s3": _s3, "gs": _gs}[request.param](content, monkeypatch)


def _s3(content, monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="the extra cloud (s3fs) is not installed")
    moto = pytest.importorskip("moto.server", reason="moto, which plays S3, is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    store = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        writer = s3fs.S3FileSystem(
            endpoint_url=f"http://{host}:{port}", skip_instance_cache=True, use_listings_cache=False
        )
        writer.mkdir("bucket")

        def put(path) -> None:
            writer.pipe_file(f"bucket/{path.relative_to(content)}", path.read_bytes())

        for path in (content / "pool").iterdir():
            put(path)
        with standing_before(f"{host}:{port}") as server:
            monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", server.root)
            _read_configuration_again(monkeypatch)
            yield Bucket("s3://bucket/pool", server, put)
    finally:
        store.stop()


def _gs(content, monkeypatch):
    # Else gcsfs asks Google over gRPC what kind of bucket it is, for a minute.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    pytest.importorskip("gcsfs", reason="the extra cloud (gcsfs) is not installed")
    with serving_bucket(content) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.root)
        monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
        _read_configuration_again(monkeypatch)
        yield Bucket("gs://bucket/pool", server, lambda path: None)


def _read_configuration_again(monkeypatch) -> None:
    """Have fsspec look at the environment, as it does when it is imported."""
    from fsspec.config import conf, set_conf_env

    for name in ("s3", "gs"):
        monkeypatch.setitem(conf, name, {})
    set_conf_env(conf)


def cut(bucket: Bucket, name: str, times: int) -> None:
    bucket.server.cuts[f"pool/{name}"] = times


def test_pool_in_a_bucket_is_indexed_by_workers_and_read_by_range(tmp_path, bucket):
    pool = PoolShards(folder=bucket.url, shards="*.tar", limits=LIMITS, num_workers=2)

    index = index_pool(pool, scratch=tmp_path / "scratch", plain_forms=tmp_path / "plain")
    bucket.server.requested.clear()

    assert images_of(index, bucket.url, tmp_path) == PICTURES
    assert index.pairs["shard"].to_pylist() == ["0.tar", "0.tar", "1.tar", "1.tar"]
    assert count_by_rule(index.ledger) == {"failed_otherwise": 1}
    offset, size = (index.pairs[name][3].as_py() for name in ("image_offset", "image_bytes"))
    assert ("GET", "pool/1.tar", f"bytes={offset}-{offset + size - 1}") in bucket.server.requested


def test_pool_in_a_bucket_has_the_rows_of_the_same_pool_on_disk(tmp_path, bucket):
    far = read_pool(bucket.url, tmp_path / "far", shards="{0..1}.tar")
    near = read_pool(tmp_path / "content/pool", tmp_path / "near", shards="{0..1}.tar")

    assert far.pairs.equals(near.pairs)
    assert far.ledger.equals(near.ledger)


def test_connection_that_is_cut_costs_a_try(tmp_path, bucket):
    cut(bucket, "0.tar", 1)
    index = read_pool(bucket.url, tmp_path / "scratch", shards="*.tar")
    assert bucket.server.cuts["pool/0.tar"] == 0
    images = PoolImages(index.pairs, bucket.url)

    cut(bucket, "1.tar", 1)

    assert images.read(2) == PICTURES[2]
    assert bucket.server.cuts["pool/1.tar"] == 0
    assert index.pairs.num_rows == 4


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)  # gcsfs itself tries for half a minute
def test_connection_that_is_always_cut_is_given_up_and_named(tmp_path, bucket, monkeypatch):
    index = read_pool(bucket.url, tmp_path / "scratch", shards="*.tar")
    images = PoolImages(index.pairs, bucket.url)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    bucket.server.requested.clear()
    cut(bucket, "1.tar", 10**6)

    with pytest.raises(ShardError, match=r"1\.tar, bytes \d+ to \d+: .* 5 of 5 tries"):
        images.read(3)
    assert len(bucket.server.requested) == remote.NUM_TRIES


def test_shard_that_changed_in_the_bucket_is_read_again_by_the_same_process(tmp_path, bucket):
    index = read_pool(bucket.url, tmp_path / "scratch", shards="*.tar")
    images = PoolImages(index.pairs, bucket.url)

    bucket.put(write_tar(tmp_path / "content/pool/0.tar", *PARTS[1::-1]))

    with pytest.raises(ShardError, match="changed since ingest"):
        images.read(0)
    again = read_pool(bucket.url, tmp_path / "scratch", shards="*.tar")
    assert again.pairs["caption"].to_pylist()[:2] == ["caption 1", "caption 0"]


def test_shard_that_is_not_in_the_bucket_is_named(tmp_path, bucket):
    with pytest.raises(ShardError, match=r"2\.tar: does not exist"):
        read_pool(bucket.url, tmp_path / "scratch", shards="{0..2}.tar")
    with pytest.raises(ShardError, match=r"no shard matches '\*\.zip' in (s3|gs)://bucket"):
        list_files(bucket.url, "*.zip")
