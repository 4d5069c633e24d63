"""Shards that other people wrote or broke; they lie beside the repository."""

import json
import warnings

import pytest
from PIL import Image

from tests.fakes import MAX_PIXELS
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import index_shard

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
