import os

import numpy as np
import pyarrow as pa
import pytest

from tests.fakes import distinct_picture, pool_table, write_pool_shard
from vl_pipeline.data import pool
from vl_pipeline.data.digest import digest_of_bytes
from vl_pipeline.data.pool import PoolImages, digest_of_pool, rows_of_uids
from vl_pipeline.data.sources.folder import LocalFile
from vl_pipeline.errors import PoolError, ShardError


@pytest.fixture
def two_shards(tmp_path) -> pa.Table:
    first = write_pool_shard(tmp_path / "0.tar", ["a", "b"])
    second = write_pool_shard(tmp_path / "1.tar", ["c", "d", "e"])
    return pa.concat_tables([first, second])


def test_images_are_read_by_row_from_their_shards(tmp_path, two_shards):
    images = PoolImages(two_shards, tmp_path)

    assert len(images) == 5
    assert [distinct_picture(n) for n in (0, 1, 0, 1, 2)] == [images.read(r) for r in range(5)]


def test_images_are_read_by_row_from_a_part_of_the_pool(tmp_path, two_shards):
    images = PoolImages(two_shards.take([4, 0]), tmp_path)

    assert [distinct_picture(2), distinct_picture(0)] == [images.read(0), images.read(1)]


def test_shard_that_changed_since_it_was_indexed_is_refused(tmp_path, two_shards):
    write_pool_shard(tmp_path / "0.tar", ["longer than a", "b"], width=32)

    images = PoolImages(two_shards, tmp_path)

    with pytest.raises(ShardError, match=r"0\.tar.*not the one that was indexed"):
        images.read(1)


def test_image_is_held_against_its_digest_once_for_as_long_as_its_shard_stays(
    tmp_path, two_shards, monkeypatch
):
    checked = []
    monkeypatch.setattr(pool, "digest_of_bytes", lambda d: checked.append(d) or digest_of_bytes(d))
    images = PoolImages(two_shards, tmp_path)

    for row in (0, 1, 0, 2, 1, 0):
        images.read(row)

    assert checked == [images.read(row) for row in (0, 1, 2)]


def test_image_of_a_shard_that_changes_while_it_is_read_is_refused(tmp_path, two_shards):
    images = PoolImages(two_shards, tmp_path)
    other = images.read(2)
    images.read(0)
    place = two_shards["image_offset"][0].as_py()

    with open(tmp_path / "0.tar", "r+b") as shard:
        shard.seek(place + 10)
        shard.write(b"other")
    os.utime(tmp_path / "0.tar", ns=(0, 1))  # clocks of files tick slowly

    assert images.read(2) == other
    assert images.read(1)
    with pytest.raises(ShardError, match=r"0\.tar.*not the one that was indexed"):
        images.read(0)


def test_image_whose_file_cannot_say_that_it_changed_is_checked_at_every_read(
    tmp_path, two_shards, monkeypatch
):
    checked = []
    monkeypatch.setattr(pool, "digest_of_bytes", lambda d: checked.append(d) or digest_of_bytes(d))
    monkeypatch.setattr(LocalFile, "stamp", lambda _: None)
    images = PoolImages(two_shards, tmp_path)

    assert [images.read(0) for _ in range(3)] == checked


def test_shard_that_is_gone_is_named(tmp_path, two_shards):
    (tmp_path / "1.tar").unlink()
    images = PoolImages(two_shards, tmp_path)

    assert images.read(0)
    with pytest.raises(ShardError, match=r"1\.tar: cannot be opened"):
        images.read(4)


def test_pools_identity_is_its_uids_in_order():
    pool = pool_table(3)

    assert digest_of_pool(pool) == digest_of_pool(pool_table(3, shard=["other.tar"] * 3))
    assert digest_of_pool(pool) != digest_of_pool(pool.take([1, 0, 2]))
    assert digest_of_pool(pool) != digest_of_pool(pool.slice(0, 2))


def test_rows_of_uids_are_in_the_order_of_the_uids():
    pool = pool_table(5)

    rows = rows_of_uids(pool, pool["uid"].take([3, 0, 3]))

    assert rows.tolist() == [3, 0, 3]
    assert np.int64 == rows.dtype


def test_no_uids_have_no_rows():
    pool = pool_table(5)

    assert rows_of_uids(pool, pool["uid"].slice(0, 0)).tolist() == []


def test_uid_of_another_pool_is_named():
    stranger = pool_table(6)["uid"].slice(5)

    with pytest.raises(PoolError, match=f"1 uids are not in the pool.*{stranger[0].as_py()}"):
        rows_of_uids(pool_table(5), stranger)
