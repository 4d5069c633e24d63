import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from open_clip_train.data import filter_no_caption_or_no_image

from tests.fakes import LIMITS, distinct_picture, pair_members, pool_table, write_tar
from tests.projects import copy_project, run
from vl_pipeline.curation.manifest import MANIFEST_SCHEMA, digest_of_manifest
from vl_pipeline.data.export import Export, export_pairs, exported_keys, read_set, subset_of_uids
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards, index_pool, index_shard
from vl_pipeline.errors import CurationError, ParameterError, PoolError, ShardError

CAPTIONS = ["a red square", "été", "two\nlines", "a fourth", "a fifth"]
KINDS = ["JPEG", "PNG", "WEBP", "JPEG", "JPEG"]


def make_pool(folder: Path) -> pa.Table:
    """Two shards; the key 1 is in both, and the suffix of the fourth picture is not jpg."""
    members = [
        pair_members(
            str(number % 4),
            caption=caption,
            image=distinct_picture(number, kind=kind),
            image_suffix={"PNG": "png", "WEBP": "webp"}.get(kind, "jpeg"),
            side={"url": f"http://a.example/{number}"},
        )
        for number, (caption, kind) in enumerate(zip(CAPTIONS, KINDS, strict=True), start=1)
    ]
    write_tar(folder / "a.tar", *members[:3])
    write_tar(folder / "b/a.tar", *members[3:])
    pools = [index_shard(folder / name, name, LIMITS).pairs for name in ("a.tar", "b/a.tar")]
    return pa.concat_tables(pools)


def manifest_of(
    uids: list[str], *, scores: list[float] | None = None, rounds: list[int] | None = None
):
    columns = {
        "uid": uids,
        "score": scores or [0.5] * len(uids),
        "nearest_target": ["square"] * len(uids),
        "round": rounds or [0] * len(uids),
        "accepted_by": ["threshold"] * len(uids),
    }
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def export(chosen: pa.Table, tmp_path: Path, *, name: str = "out", pairs_per_shard: int = 2):
    pool = make_pool(tmp_path / "pool")
    return export_pairs(
        chosen,
        pool=pool,
        images=PoolImages(pool, tmp_path / "pool"),
        folder=tmp_path / name,
        pairs_per_shard=pairs_per_shard,
    )


@pytest.fixture
def pool(tmp_path) -> pa.Table:
    return make_pool(tmp_path / "pool")


def test_webdataset_reads_back_the_same_bytes_and_captions(tmp_path, pool):
    counts = export(manifest_of(pool["uid"].to_pylist()), tmp_path)

    shards = [str(tmp_path / "out" / f"{n:05d}.tar") for n in range(3)]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    images = PoolImages(pool, tmp_path / "pool")
    for row, (sample, kind) in enumerate(
        zip(samples, ["jpg", "png", "webp", "jpg", "jpg"], strict=True)
    ):
        assert sample[kind] == images.read(row)
        assert sample["txt"].decode() == CAPTIONS[row]
    assert counts == {"num_pairs": 5, "num_shards": 3, "num_keys_changed": 2}
    assert json.loads((tmp_path / "out/sizes.json").read_text()) == {
        "00000.tar": 2,
        "00001.tar": 2,
        "00002.tar": 1,
    }


def test_ingest_reads_back_the_same_pairs(tmp_path, pool):
    export(manifest_of(pool["uid"].to_pylist()), tmp_path)

    index = index_pool(
        PoolShards(folder=str(tmp_path / "out"), shards="*.tar", limits=LIMITS, num_workers=1),
        scratch=tmp_path / "scratch",
    )

    for column in ("uid", "caption", "url", "image_hash"):
        assert index.pairs[column].to_pylist() == pool[column].to_pylist()
    assert index.ledger.num_rows == 0


def test_pictures_of_other_formats_are_called_what_trainers_take(tmp_path):
    kinds = ["GIF", "BMP", "TIFF", "AVIF"]
    members = [
        pair_members(kind, image=distinct_picture(number, kind=kind))
        for number, kind in enumerate(kinds)
    ]
    write_tar(tmp_path / "pool/0.tar", *members)
    pool = index_shard(tmp_path / "pool/0.tar", "0.tar", LIMITS).pairs
    export_pairs(
        manifest_of(pool["uid"].to_pylist()),
        pool=pool,
        images=PoolImages(pool, tmp_path / "pool"),
        folder=tmp_path / "out",
        pairs_per_shard=4,
    )

    samples = list(webdataset.WebDataset(str(tmp_path / "out/00000.tar"), shardshuffle=False))
    again = index_shard(tmp_path / "out/00000.tar", "0.tar", LIMITS)

    assert [
        sample["__key__"] for sample in samples if filter_no_caption_or_no_image(sample)
    ] == kinds
    assert again.pairs["uid"].to_pylist() == pool["uid"].to_pylist()


def test_json_and_manifest_say_where_a_pair_came_from_and_why_it_was_kept(tmp_path, pool):
    uid = pool["uid"][3].as_py()

    export(manifest_of([uid], scores=[0.25]), tmp_path)

    (sample,) = webdataset.WebDataset(str(tmp_path / "out/00000.tar"), shardshuffle=False)
    said = {
        "uid": uid,
        "shard": "b/a.tar",
        "key": "0",
        "url": "http://a.example/4",
        "caption": "a fourth",
        "width": 24,
        "height": 24,
        "score": 0.25,
        "nearest_target": "square",
        "round": 0,
        "accepted_by": "threshold",
    }
    assert json.loads(sample["json"]) == said
    (row,) = pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()
    assert row == said | {"exported_shard": "00000.tar", "exported_key": "0"}


def test_unique_keys_stay_and_keys_of_several_shards_are_told_apart_by_uid(tmp_path, pool):
    uids = pool["uid"].to_pylist()

    assert exported_keys(pool) == [f"1_{uids[0]}", "2", "3", "0", f"1_{uids[4]}"]


def test_keys_webdataset_could_not_read_are_changed():
    pool = pool_table(4, key=["", "folder/", "v1.2/photo.small", "plain"])

    uids = pool["uid"].to_pylist()
    assert exported_keys(pool) == [f"_{uids[0]}", f"folder/_{uids[1]}", "v1.2/photo_small", "plain"]


def test_pair_that_several_rounds_kept_is_written_once_as_the_last_one_saw_it(tmp_path, pool):
    first, second = pool["uid"].to_pylist()[:2]

    export(manifest_of([second, first, second], scores=[0.1, 0.2, 0.3], rounds=[0, 0, 1]), tmp_path)

    manifest = pq.read_table(tmp_path / "out/manifest.parquet")
    assert manifest["uid"].to_pylist() == [first, second]
    assert manifest["round"].to_pylist() == [0, 1]
    assert manifest["score"].to_pylist() == pytest.approx([0.2, 0.3])


def test_equal_sets_give_equal_bytes_whatever_the_order_of_the_manifest(tmp_path, pool):
    uids = pool["uid"].to_pylist()

    export(manifest_of(uids), tmp_path, name="one")
    export(manifest_of(uids[::-1]), tmp_path, name="two")

    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == [
        "00000.tar",
        "00001.tar",
        "00002.tar",
        "manifest.parquet",
        "sizes.json",
        "uids.npy",
    ]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_subset_file_is_sorted_halves_of_the_uids():
    uids = ["00000000000000020000000000000001", "0000000000000001ffffffffffffffff"]

    subset = subset_of_uids(uids)

    assert subset.dtype == np.dtype([("f0", "<u8"), ("f1", "<u8")])
    assert subset.tolist() == [(1, 2**64 - 1), (2, 1)]


def test_subset_file_holds_the_uids_of_the_set(tmp_path, pool):
    uids = pool["uid"].to_pylist()[:3]

    export(manifest_of(uids), tmp_path)

    subset = np.load(tmp_path / "out/uids.npy", allow_pickle=False)
    assert [f"{a:016x}{b:016x}" for a, b in subset.tolist()] == sorted(uids)


def test_nothing_of_a_set_is_left_where_an_image_is_not_what_was_indexed(tmp_path, pool):
    shard = tmp_path / "pool/b/a.tar"
    images = PoolImages(pool, tmp_path / "pool")
    shard.write_bytes(shard.read_bytes()[:600] + bytes(shard.stat().st_size - 600))

    with pytest.raises(ShardError, match="changed since ingest"):
        export_pairs(
            manifest_of(pool["uid"].to_pylist()),
            pool=pool,
            images=images,
            folder=tmp_path / "out",
            pairs_per_shard=2,
        )

    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_empty_sets_and_sets_of_other_pools_are_refused(tmp_path):
    with pytest.raises(CurationError, match="no pairs"):
        export(manifest_of([]), tmp_path)
    with pytest.raises(PoolError, match="another pool"):
        export(manifest_of(["0" * 32]), tmp_path)


def test_set_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    (tmp_path / "clip").mkdir()
    pq.write_table(manifest_of([]), tmp_path / "clip/trained_pairs.parquet")
    settings = Export(method="cit", pairs="trained", folder="out", pairs_per_shard=1)

    with pytest.raises(ParameterError, match=r"there are clip/trained_pairs\.parquet"):
        read_set(tmp_path, settings)


def test_the_pipeline_exports_the_set_that_parameters_name(tmp_path):
    project = copy_project(tmp_path / "project")
    pool = make_pool(project / "shards")
    (project / "data/03_primary").mkdir(parents=True)
    pq.write_table(pool, project / "data/03_primary/pool.parquet")
    (project / "data/05_model_input/clip").mkdir(parents=True)
    chosen = manifest_of(pool["uid"].to_pylist()[:3])
    pq.write_table(chosen, project / "data/05_model_input/clip/curated_pairs.parquet")

    chosen_by = {"method": "clip", "pairs": "curated"}
    run(project, "export", params={"pool": {"folder": "shards"}, "export": chosen_by})

    out = project / "data/07_model_output/exported/clip_curated"
    assert pq.read_table(out / "manifest.parquet")["uid"].equals(chosen["uid"])
    assert json.loads((project / "data/08_reporting/export.json").read_text()) == chosen_by | {
        "manifest_digest": digest_of_manifest(chosen),
        "num_pairs": 3,
        "num_shards": 1,
        "num_keys_changed": 1,
    }
