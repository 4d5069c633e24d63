"""Shards that other people wrote or broke; they lie beside the repository."""

import json
import warnings
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.fakes import LIMITS
from tests.sources import images_of, read_pool, write_files
from vl_pipeline.data.images import MAX_PIXELS
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import index_shard
from vl_pipeline.errors import ShardError

KEPT = """
    good bitflips trailing_garbage png_named_jpg webp_named_jpg gif_named_jpg bmp_named_jpg
    cmyk_jpeg gray_jpeg one_bit_png rgba_png_fully_transparent la_png palette_png_transparency
    png16 1x1 1px_wide extreme_aspect_3000x4 solid_black solid_white
    exif_orientation_1 exif_orientation_3 exif_orientation_6 exif_orientation_8
    real_pil_sample_cmyk.jpg missing_txt missing_json
    txt_utf8_bom single_char emoji_only rtl chinese zero_width html_markup newline_multi
    csv_injection prompt_injection_like personal_data_like json_is_list json_nan txt_json_disagree
    wrong_sha256_and_size uppercase_ext jpeg_ext extra_ext
"""
UNREADABLE = """
    truncated_jpeg_50pct truncated_jpeg_90pct zero_bytes html_instead_of_image git_lfs_pointer
    jpeg_header_garbage real_truncated.jpg real_corrupt-header.jpg real_truncated.png
    real_hippopotamus.regular.truncated.png real_broken.png real_png_decompression_dos.png
    real_ImageTestSuite_png real_ImageTestSuite_jpg
"""
RULES: dict[str, str | None] = {
    **dict.fromkeys(KEPT.split()),
    **dict.fromkeys(UNREADABLE.split(), "unreadable_image"),
    "decompression_bomb_header_50000x50000": "image_too_many_pixels",
    "header_only_png_20000x5000": "image_too_many_pixels",
    "real_decompression_bomb.gif": "image_too_many_pixels",
    "missing_image": "missing_image",
    "image_only": "missing_caption",
    "json_null_caption": "missing_caption",
    "txt_not_utf8_latin1": "undecodable_caption",
    "txt_utf16_bom": "undecodable_caption",
    "empty_caption": "empty_caption",
    "whitespace_caption": "empty_caption",
    "nul_in_caption": "control_characters",
    "control_chars": "control_characters",
    "very_long_caption_200k": "caption_too_many_bytes",
    "malformed_json": None,  # a .txt has the caption
}
"""What becomes of each category of `badinput/dirty.tar`: the rule it breaks, or None if kept."""

CAPTIONS = {
    "txt_utf8_bom": "a red car",
    "emoji_only": "🍎🍌🥕",
    "rtl": "صورة تفاحة حمراء على الطاولة",
    "chinese": "一个红苹果放在木桌上",
    "zero_width": "a\u200bp\u200bp\u200bl\u200be",
    "html_markup": '<a href="x">Red &amp; green apples</a><br>',
    "newline_multi": "line one\nline two\nline three",
    "csv_injection": '=HYPERLINK("http://evil.example","apple")',
    "missing_txt": "caption only in json",
    "txt_json_disagree": "a cat",
}
SIDEWAYS = ("exif_orientation_6", "exif_orientation_8")  # Pillow's sizes are as stored


@pytest.fixture(scope="module")
def dirty(shared_data):
    folder = shared_data / "badinput"
    manifest = json.loads((folder / "manifest.json").read_text())
    limits = replace(LIMITS, max_pixels=MAX_PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return manifest, index_shard(folder / "dirty.tar", "dirty.tar", limits)


def test_each_dirty_pair_is_kept_or_charged_to_the_rule_of_its_category(dirty):
    manifest, index = dirty

    found: dict[str, list] = {entry["key"]: [] for entry in manifest}
    for row in index.pairs.to_pylist() + index.ledger.to_pylist():
        found[row["key"]].append(row.get("rule"))

    assert {e["key"]: (e["category"], [RULES[e["category"]]]) for e in manifest} == {
        e["key"]: (e["category"], found[e["key"]]) for e in manifest
    }
    assert {entry["category"] for entry in manifest} == set(RULES)


def test_every_dirty_pair_that_was_turned_away_says_why_in_a_few_words(dirty):
    _, index = dirty

    for row in index.ledger.to_pylist():
        assert row["limit"]
        assert len(row["value"]) < 200
        assert row["value"] or row["rule"] == "missing_image"
        assert " at 0x" not in row["value"]  # an address would differ from run to run


def test_captions_of_dirty_pairs_are_kept_to_the_letter(dirty):
    manifest, index = dirty
    keys = {e["key"]: e["category"] for e in manifest if e["category"] in CAPTIONS}

    found = {keys[p["key"]]: p["caption"] for p in index.pairs.to_pylist() if p["key"] in keys}

    assert found == CAPTIONS


def test_sizes_of_dirty_images_are_those_of_the_upright_picture(dirty):
    manifest, index = dirty
    sizes = {
        e["key"]: e["decode"]["size"][:: -1 if e["category"] in SIDEWAYS else 1]
        for e in manifest
        if RULES[e["category"]] is None
    }

    found = {p["key"]: [p["width"], p["height"]] for p in index.pairs.to_pylist()}

    assert sizes == found


NOTHING_KEPT: list[str] = []
ARCHIVES = {
    "bad_header_checksum.tar": (["00002000", "00002001"], {"broken_tar": 1}),
    "empty.tar": (NOTHING_KEPT, {"broken_tar": 1}),
    "gzipped_named.tar": (NOTHING_KEPT, {"broken_tar": 1}),
    "not_a_tar.tar": (NOTHING_KEPT, {"broken_tar": 1}),
    "zero_blocks_only.tar": (NOTHING_KEPT, {}),
    "odd_members.tar": (
        ["dup", "sub/dir/key1", "ünïcode kéy"],
        {
            "missing_image": 3,  # noext, a.b.c.jpg (whose suffix is b.c.jpg), other.txt
            "missing_caption": 2,  # __MACOSX/x.jpg, split1.jpg
            "repeated_key": 2,  # dup, and split1 whose members lie apart
            "unsafe_name": 2,
            "not_a_file": 1,
        },
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_odd_or_broken_archive_gives_its_whole_pairs_and_the_rules_of_the_rest(shared_data, name):
    index = index_shard(shared_data / "badinput" / name, name, LIMITS)

    kept, rules = ARCHIVES[name]
    assert kept == index.pairs["key"].to_pylist()
    assert rules == count_by_rule(index.ledger)
    assert len(kept) + sum(rules.values()) == index.num_listed


def test_truncated_archive_gives_every_pair_before_the_cut(shared_data):
    path = shared_data / "badinput" / "truncated.tar"

    index = index_shard(path, path.name, LIMITS)

    assert index.pairs.num_rows == 29
    assert count_by_rule(index.ledger) == {"broken_tar": 1}


def test_every_archive_of_the_folder_is_expected_to_be_something(shared_data):
    found = {path.name for path in (shared_data / "badinput").glob("*.tar")}

    assert {*ARCHIVES, "truncated.tar", "dirty.tar"} == found


def test_shard_of_img2dataset_holds_what_its_statistics_say(shared_data):
    path = shared_data / "pool" / "00000.tar"
    statistics = json.loads((shared_data / "pool" / "00000_stats.json").read_text())

    index = index_shard(path, path.name, LIMITS)

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

    index = index_shard(path, path.name, LIMITS)

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

    plain = index_shard(source, source.name, LIMITS)
    assert index.pairs["uid"].equals(plain.pairs["uid"])
    assert count_by_rule(index.ledger) == count_by_rule(plain.ledger)
