from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes import LIMITS, distinct_picture, pair_members, write_side_table, write_tar
from vl_pipeline.data.download.passes import LOST, Passes
from vl_pipeline.data.shards import PoolShards, index_pool
from vl_pipeline.errors import ParameterError

SETTINGS = {"image_size_px": 256}
LISTED = pa.table(
    {"url": [f"http://a.example/{n}.jpg" for n in range(5)], "caption": list("abcde")}
)


def begun(folder: Path, listed: pa.Table = LISTED, settings: dict | None = None) -> Passes:
    passes = Passes(folder, pairs_per_shard=2)
    passes.begin(listed, settings=settings or SETTINGS)
    return passes


def finish(passes: Passes, **failed: str) -> None:
    """Finish the unfinished shards; captions named in `failed` get that status, or no row."""
    attempts = passes.attempts().to_pylist()
    for shard in passes.unfinished_shards():
        rows = [row for row in attempts if row["shard"] == shard]
        told = [row for row in rows if failed.get(row["caption"]) != LOST]
        good = [row for row in told if row["caption"] not in failed]
        path = write_tar(
            passes.folder / f"{shard}.tar",
            *(
                pair_members(
                    r["key"], caption=r["caption"], image=distinct_picture(ord(r["caption"]))
                )
                for r in good
            ),
        )
        write_side_table(
            path, [(r["key"], failed.get(r["caption"], "success"), None) for r in told]
        )
        (passes.folder / f"{shard}_stats.json").write_text("{}")


def statuses(passes: Passes) -> dict[str, str]:
    outcomes = passes.outcomes()
    return dict(zip(outcomes["caption"].to_pylist(), outcomes["status"].to_pylist(), strict=True))


def test_every_row_has_the_shard_and_key_img2dataset_will_give_it(tmp_path):
    attempts = begun(tmp_path).attempts()

    assert attempts["shard"].to_pylist() == ["00000", "00000", "00001", "00001", "00002"]
    assert attempts["key"].to_pylist() == ["000000", "000001", "000010", "000011", "000020"]


def test_finished_shards_are_not_asked_for_again(tmp_path):
    passes = begun(tmp_path)
    assert passes.unfinished_shards() == ["00000", "00001", "00002"]

    (tmp_path / "00001_stats.json").touch()

    assert begun(tmp_path).unfinished_shards() == ["00000", "00002"]


def test_retry_asks_for_failed_and_lost_pairs_alone_in_further_shards(tmp_path):
    passes = begun(tmp_path)
    finish(passes, b="failed_to_download", d=LOST, e="failed_to_resize")
    assert statuses(passes) == {
        "a": "success",
        "b": "failed_to_download",
        "c": "success",
        "d": LOST,
        "e": "failed_to_resize",
    }

    assert passes.retry()

    last = pq.read_table(tmp_path / "_lists/00001.parquet")
    assert last["caption"].to_pylist() == ["b", "d", "e"]
    assert last["retry_of"].to_pylist() == ["000001", "000011", "000020"]
    assert last["shard"].to_pylist() == ["00003", "00003", "00004"]
    assert passes.unfinished_shards() == ["00003", "00004"]


def test_nothing_is_retried_where_nothing_failed(tmp_path):
    passes = begun(tmp_path)
    finish(passes)

    assert not passes.retry()
    assert len(passes) == 1


def test_pair_that_failed_and_then_succeeded_is_one_listed_pair_for_ingest(tmp_path):
    passes = begun(tmp_path)
    finish(passes, b="failed_to_download", d="failed_to_download", e="failed_to_download")
    passes.retry()
    finish(passes, d="failed_to_download")
    passes.settle()
    passes.retry()
    finish(passes, d="failed_to_resize")

    passes.settle()
    passes.settle()

    assert statuses(passes) == {
        "a": "success",
        "b": "success",
        "c": "success",
        "d": "failed_to_resize",
        "e": "success",
    }
    index = index_pool(
        PoolShards(folder=str(tmp_path), shards="*.tar", limits=LIMITS, num_workers=1),
        scratch=tmp_path / "scratch",
    )
    assert index.num_listed == LISTED.num_rows
    assert index.pairs["caption"].to_pylist() == ["a", "c", "b", "e"]
    assert index.ledger["rule"].to_pylist() == ["failed_to_resize"]


def test_folder_of_another_list_or_of_other_settings_is_refused(tmp_path):
    begun(tmp_path)

    with pytest.raises(ParameterError, match="another URL list"):
        begun(tmp_path, LISTED.slice(1))
    with pytest.raises(ParameterError, match="image_size_px=256"):
        begun(tmp_path, settings={"image_size_px": 128})


def test_folder_with_shards_of_other_origin_is_refused_and_left_alone(tmp_path):
    write_tar(tmp_path / "00000.tar")

    with pytest.raises(ParameterError, match="not downloaded by this pipeline"):
        begun(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["00000.tar"]
