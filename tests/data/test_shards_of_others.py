"""Shards that other people wrote or broke; they lie beside the repository."""

import json
import warnings

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.fakes import MAX_PIXELS
from tests.sources import images_of, read_pool, write_files
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import index_shard
from vl_pipeline.errors import ShardError

CAPTION_RULES = {
    "image_only": "missing_caption",
    "json_null_caption": "missing_caption",
    "txt_not_utf8_latin1": "undecodable_caption",
    "txt_utf16_bom": "undecodable_caption",
    "empty_caption": "empty_caption",
    "whitespace_caption": "empty_caption",
    "malformed_json": "unreadable_json",
    "missing_image": "missing_image",
}


def expected_rule(entry: dict) -> str | None:
    """The rule a pair of `badinput/dirty.tar` breaks, from what its manifest says."""
    if entry["category"] in CAPTION_RULES:
        return CAPTION_RULES[entry["category"]]
    return None if entry["decode"]["pillow"] == "ok" else "unreadable_image"


@pytest.fixture(scope="module")
def dirty(shared_data):
    folder = shared_data / "badinput"
    manifest = json.loads((folder / "manifest.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return manifest, index_shard(folder / "dirty.tar", "dirty.tar", MAX_PIXELS)


def test_each_dirty_pair_is_kept_or_charged_to_the_rule_its_manifest_implies(dirty):
    manifest, index = dirty

    found = dict.fromkeys(index.pairs["key"].to_pylist())
    found |= {row["key"]: row["rule"] for row in index.ledger.to_pylist()}
    assert {entry["key"]: expected_rule(entry) for entry in manifest} == found


def test_sizes_of_dirty_images_are_pillows(dirty):
    manifest, index = dirty
    sizes = {e["key"]: e["decode"]["size"] for e in manifest if expected_rule(e) is None}

    found = {p["key"]: [p["width"], p["height"]] for p in index.pairs.to_pylist()}

    assert sizes == found


@pytest.mark.parametrize(
    ("name", "is_broken"),
    [
        ("bad_header_checksum.tar", True),
        ("empty.tar", True),
        ("gzipped_named.tar", True),
        ("not_a_tar.tar", True),
        ("odd_members.tar", False),
        ("truncated.tar", True),
        ("zero_blocks_only.tar", False),
    ],
)
def test_broken_archive_is_reported_and_its_accounts_add_up(shared_data, name, is_broken):
    index = index_shard(shared_data / "badinput" / name, name, MAX_PIXELS)

    assert is_broken == ("broken_tar" in count_by_rule(index.ledger))
    assert index.num_listed == index.pairs.num_rows + index.ledger.num_rows


def test_shard_of_img2dataset_holds_what_its_statistics_say(shared_data):
    path = shared_data / "pool" / "00000.tar"
    statistics = json.loads((shared_data / "pool" / "00000_stats.json").read_text())

    index = index_shard(path, path.name, MAX_PIXELS)

    assert statistics["count"] == index.num_listed
    assert statistics["successes"] == index.pairs.num_rows + sum(
        count
        for rule, count in count_by_rule(index.ledger).items()
        if not rule.startswith("failed_to_")
    )
    images = PoolImages(index.pairs, path.parent)
    assert images.read(0).startswith(b"\xff\xd8\xff")
    assert images.read(index.pairs.num_rows - 1).startswith(b"\xff\xd8\xff")


def test_images_without_captions_of_clip_retrieval_are_all_charged(shared_data):
    path = shared_data / "foreign" / "clip_retrieval_image1.tar"

    index = index_shard(path, path.name, MAX_PIXELS)

    assert index.num_listed == 4
    assert count_by_rule(index.ledger) == {"missing_caption": 4}


def test_archive_that_is_gzip_under_the_name_of_a_tar_is_read(shared_data, tmp_path):
    index = read_pool(shared_data / "badinput", tmp_path, shards="gzipped_named.tar")

    assert index.pairs.num_rows == 38
    assert count_by_rule(index.ledger) == {"broken_tar": 1}  # the tar inside is cut, not the gzip
    assert len(images_of(index, shared_data / "badinput", tmp_path)) == index.pairs.num_rows


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip_retrieval_image2.tar", {"missing_caption": 3}),
        ("nemo_curator_00000.tar", {"missing_caption": 1}),
        ("webdataset_compressed_txtgz.tar", {"missing_image": 3}),
        ("webdataset_mpdata.tar", {"missing_image": 100}),
        ("webdataset_sample_png_cls.tgz", {"missing_caption": 90}),
    ],
)
def test_archive_without_pairs_is_charged_sample_by_sample(shared_data, tmp_path, name, expected):
    index = read_pool(shared_data / "foreign", tmp_path, shards=name)

    assert count_by_rule(index.ledger) == expected
    assert index.pairs.num_rows == 0


def test_captions_that_webdataset_compressed_are_read(shared_data, tmp_path):
    """Its pictures lie elsewhere, so each caption gets one of clip-retrieval's here."""
    import io
    import tarfile

    source = shared_data / "foreign"
    (tmp_path / "pool").mkdir()
    with (
        tarfile.open(source / "webdataset_compressed_txtgz.tar") as texts,
        tarfile.open(source / "clip_retrieval_image2.tar") as pictures,
        tarfile.open(tmp_path / "pool/0.tar", "w") as both,
    ):
        named = [member for member in texts if member.isfile()]
        for text, picture in zip(named, list(pictures), strict=True):
            both.addfile(text, texts.extractfile(text))
            data = pictures.extractfile(picture).read()
            picture.name = text.name.replace("txt.gz", "jpg")
            both.addfile(picture, io.BytesIO(data))

    index = read_pool(tmp_path / "pool", tmp_path / "scratch")

    assert len(set(index.pairs["caption"].to_pylist())) == 3
    assert index.pairs["key"].to_pylist() == [f"compressed/000{n}" for n in (1, 2, 3)]


BED_BUS_WOMAN = [
    "A comfortable bed.",
    "A bus.",
    "Black and white photograph of a woman holding an umbrella.",
]


def test_parquet_of_data_juicer_is_read_with_its_pictures(shared_data, tmp_path):
    name = "data_juicer_images_bytes.parquet"
    cells = pq.read_table(shared_data / "foreign" / name)["image_bytes"].to_pylist()

    index = read_pool(shared_data / "foreign", tmp_path, shards=name)

    assert index.pairs["caption"].to_pylist() == BED_BUS_WOMAN
    assert images_of(index, shared_data / "foreign", tmp_path) == [cell[0] for cell in cells]


def test_json_lines_of_data_juicer_are_read_with_pictures_from_elsewhere(shared_data, tmp_path):
    foreign = shared_data / "foreign"
    rows = pq.read_table(foreign / "data_juicer_images_bytes.parquet").to_pylist()
    files = {row["images"][0].removeprefix("../../"): row["image_bytes"][0] for row in rows} | {
        "demos/data/rows.jsonl": (foreign / "data_juicer_images.jsonl").read_bytes()
    }
    folder = write_files(tmp_path / "pool", files)

    index = read_pool(folder, tmp_path / "scratch", shards="demos/*/*.jsonl")

    assert index.pairs["caption"].to_pylist() == BED_BUS_WOMAN
    assert index.pairs["shard"].to_pylist()[0] == "tests/ops/data/img1.png"
    assert images_of(index, folder, tmp_path / "scratch") == [r["image_bytes"][0] for r in rows]


def test_json_lines_whose_pictures_lie_outside_the_pool_are_charged(shared_data, tmp_path):
    index = read_pool(shared_data / "foreign", tmp_path, shards="data_juicer_images.jsonl")

    assert count_by_rule(index.ledger) == {"missing_image": 3}


@pytest.mark.parametrize(
    "name", ["cc3m_competition_credits.csv", "img2dataset_laion_test_1000.parquet"]
)
def test_lists_of_addresses_are_sent_to_the_download(shared_data, tmp_path, name):
    with pytest.raises(ShardError, match="kedro run --pipelines download"):
        read_pool(shared_data / "foreign", tmp_path, shards=name)


def test_pool_of_img2dataset_in_gzip_has_the_same_pairs(shared_data, tmp_path):
    import gzip

    source = shared_data / "pool" / "00001.tar"
    side = (source.with_suffix(".parquet")).read_bytes()
    files = {"00001.tar.gz": gzip.compress(source.read_bytes(), 1), "00001.parquet": side}
    folder = write_files(tmp_path / "pool", files)

    index = read_pool(folder, tmp_path / "scratch", shards="*")

    plain = index_shard(source, source.name, MAX_PIXELS)
    assert index.pairs["uid"].equals(plain.pairs["uid"])
    assert count_by_rule(index.ledger) == count_by_rule(plain.ledger)
