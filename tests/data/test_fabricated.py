"""The fabricated pool: what is on disk agrees with what was asked and with what the truth says."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from pydantic import ValidationError

from vl_pipeline.data.fabricated import FabricatedPool, write_fabricated_pool
from vl_pipeline.data.fabricated.captions import SYNONYMS, describe_scene
from vl_pipeline.data.fabricated.drawings import DRAWINGS, OTHER_TASK_CLASSES, TARGET_CLASSES
from vl_pipeline.data.fabricated.randomness import generator
from vl_pipeline.data.fabricated.scenes import Scene
from vl_pipeline.errors import ParameterError

PARAMETERS = FabricatedPool(
    num_pairs=1200,
    image_size_px=48,
    num_evaluation_images_per_class=4,
    off_topic_fraction=0.7,
    mismatched_fraction=0.1,
    boilerplate_fraction=0.05,
    duplicate_fraction=0.04,
    near_duplicate_fraction=0.03,
    corrupt_fraction=0.02,
    leaked_fraction=0.01,
    seed=11,
)
SMALLEST = replace(PARAMETERS, num_pairs=100, image_size_px=32, num_evaluation_images_per_class=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fabricated") / "world"
    write_fabricated_pool(folder, PARAMETERS)
    return folder


@pytest.fixture(scope="module")
def truth(world: Path) -> pd.DataFrame:
    return pd.read_parquet(world / "truth.parquet").set_index("key", drop=False)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def members(*archives: Path) -> dict[str, bytes]:
    contents = {}
    for path in sorted(archives):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                contents[member.name] = file.read()
    return contents


def pool_members(world: Path) -> dict[str, bytes]:
    return members(*(world / "pool").glob("*.tar"))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def thumbnail(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((8, 8), Image.Resampling.BOX)).astype(float).ravel()


def test_equal_parameters_write_equal_bytes_whatever_the_process(tmp_path: Path) -> None:
    write_fabricated_pool(tmp_path / "here", SMALLEST)

    program = (
        "import json, sys; from pathlib import Path\n"
        "from vl_pipeline.data.fabricated import FabricatedPool, write_fabricated_pool\n"
        "write_fabricated_pool(Path(sys.argv[1]), FabricatedPool(**json.loads(sys.argv[2])))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there"), json.dumps(asdict(SMALLEST))],
        env=os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )

    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_another_seed_writes_another_pool(tmp_path: Path) -> None:
    write_fabricated_pool(tmp_path / "one", SMALLEST)
    write_fabricated_pool(tmp_path / "two", replace(SMALLEST, seed=SMALLEST.seed + 1))

    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in ("pool/00000.tar", "pool/00000.parquet", "targets/scenes/test/0.tar"):
        assert one[name] != two[name]


def test_an_existing_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    stale = tmp_path / "world" / "pool" / "00007.tar"
    stale.parent.mkdir(parents=True)
    stale.touch()

    write_fabricated_pool(tmp_path / "world", SMALLEST)

    assert not stale.exists()
    assert [tmp_path / "world"] == list(tmp_path.iterdir())


def test_every_share_is_as_asked(truth: pd.DataFrame) -> None:
    # 1,200 rows: 10 %, 5 %, 4 %, 3 %, 2 % (corrupt and failed together), 1 %.
    counts = truth["noise"].value_counts()

    assert counts["mismatched"] == 120
    assert counts["boilerplate"] == 60
    assert counts["exact_duplicate"] == 48
    assert counts["near_duplicate"] == 36
    assert counts["corrupt"] + counts["failed_download"] == 24
    assert counts["leaked"] == 12
    assert (~truth["class_name"].isin(TARGET_CLASSES)).sum() == 840  # 70 % off topic


def test_truth_covers_each_listed_row_once(world: Path, truth: pd.DataFrame) -> None:
    listed = pd.concat(
        [pd.read_parquet(path) for path in sorted((world / "pool").glob("*.parquet"))]
    )

    assert PARAMETERS.num_pairs == len(truth) == truth["key"].nunique()
    assert truth["key"].tolist() == listed["key"].tolist()
    assert truth["status"].tolist() == listed["status"].tolist()
    assert truth["caption"].fillna("").tolist() == listed["caption"].fillna("").tolist()


def test_webdataset_reads_what_the_side_table_lists_except_failures(world: Path) -> None:
    for shard, num_listed in (("00000", 1000), ("00001", 200)):
        archive = world / "pool" / f"{shard}.tar"
        table = pq.read_table(archive.with_suffix(".parquet")).to_pandas()
        counts = json.loads((world / "pool" / f"{shard}_stats.json").read_text())

        read = [pair["__key__"] for pair in webdataset.WebDataset(str(archive), shardshuffle=False)]

        succeeded = table["status"] == "success"
        assert table["key"][succeeded].tolist() == read
        assert num_listed == len(table) == counts["count"]
        assert len(read) == counts["successes"]
        assert table["width"].isna().tolist() == (~succeeded).tolist()


def test_json_beside_an_image_agrees_with_the_side_table(world: Path) -> None:
    files = pool_members(world)
    rows = pq.read_table(world / "pool" / "00000.parquet").to_pylist()

    for row in rows:
        if row["status"] == "success":
            assert row == json.loads(files[f"{row['key']}.json"])


def test_each_corruption_is_what_its_name_says(world: Path, truth: pd.DataFrame) -> None:
    files = pool_members(world)

    def keys(corruption: str) -> list[str]:
        found = truth["key"][truth["corruption"] == corruption].tolist()
        assert found
        return found

    assert all(files[f"{key}.jpg"] == b"" for key in keys("zero_bytes"))
    assert all(files[f"{key}.jpg"].startswith(b"<!DOCTYPE html>") for key in keys("html_page"))
    for key in keys("truncated_jpeg"):
        with pytest.raises(OSError, match="image file is truncated"):
            pixels(files[f"{key}.jpg"])
    assert all(files[f"{key}.txt"] == b"" for key in keys("empty_caption"))
    assert all(json.loads(files[f"{key}.json"])["caption"] is None for key in keys("null_caption"))
    assert all(f"{key}.txt" not in files for key in keys("missing_caption"))
    assert all(f"{key}.jpg" not in files for key in keys("failed_to_download"))


def test_exact_duplicates_have_the_bytes_and_caption_they_repeat(
    world: Path, truth: pd.DataFrame
) -> None:
    files = pool_members(world)

    for row in truth[truth["noise"] == "exact_duplicate"].itertuples():
        for suffix in ("jpg", "txt"):
            assert files[f"{row.duplicate_of}.{suffix}"] == files[f"{row.key}.{suffix}"]


def test_near_duplicates_show_the_same_picture_in_other_bytes(
    world: Path, truth: pd.DataFrame
) -> None:
    files = pool_members(world)
    intact = truth["key"][truth["noise"].isin(["natural", "off_topic"])].tolist()
    thumbnails = np.stack([thumbnail(files[f"{key}.jpg"]) for key in intact])

    for row in truth[truth["noise"] == "near_duplicate"].itertuples():
        original, copy = files[f"{row.duplicate_of}.jpg"], files[f"{row.key}.jpg"]
        distances = np.abs(thumbnails - thumbnail(copy)).mean(axis=1)
        assert original != copy
        assert intact[distances.argmin()] == row.duplicate_of
        assert truth["caption"][row.duplicate_of] in row.caption


def test_leaked_rows_show_the_test_image_they_name(world: Path, truth: pd.DataFrame) -> None:
    files, test = pool_members(world), members(world / "targets/scenes/test/0.tar")
    leaked = truth[truth["noise"] == "leaked"]

    for row in leaked.itertuples():
        key = row.leak_of.removeprefix("scenes/test/")
        of_itself = np.abs(pixels(test[f"{key}.jpg"]) - pixels(files[f"{row.key}.jpg"])).mean()
        assert files[f"{row.key}.jpg"] != test[f"{key}.jpg"]
        assert of_itself < 10
        assert row.class_name == TARGET_CLASSES[int(test[f"{key}.cls"])]
    assert leaked["leak_of"].is_unique


def test_evaluation_images_are_in_the_pool_only_where_planted(
    world: Path, truth: pd.DataFrame
) -> None:
    files = pool_members(world)
    readable = truth[(truth["status"] == "success") & truth["corruption"].isna()]
    pool = np.stack([thumbnail(files[f"{key}.jpg"]) for key in readable["key"]])
    leaks = set(truth["leak_of"].dropna())

    for split in ("scenes/test", "scenes/val", "other_scenes/test", "scenes_retrieval/test"):
        for name, data in members(world / "targets" / split / "0.tar").items():
            if name.endswith(".jpg"):
                nearest = np.abs(pool - thumbnail(data)).mean(axis=1).min()
                assert (nearest < 6) == (f"{split}/{name.removesuffix('.jpg')}" in leaks)


def test_relevant_pairs_show_target_classes_and_mismatched_ones_say_otherwise(
    truth: pd.DataFrame,
) -> None:
    mismatched = truth[truth["noise"] == "mismatched"]
    natural = truth[truth["noise"] == "natural"]

    assert truth["class_name"][truth["relevant"]].isin(TARGET_CLASSES).all()
    assert not mismatched["caption_matches_image"].any()
    assert (mismatched["caption"] != mismatched["original_caption"]).all()
    assert natural["caption_matches_image"].all()
    assert (natural["caption"] == natural["original_caption"]).all()


def test_class_names_as_words_miss_some_relevant_pairs_and_find_some_others(
    truth: pd.DataFrame,
) -> None:
    pattern = rf"\b(?:{'|'.join(TARGET_CLASSES)})\b"
    found = truth["caption"].fillna("").str.lower().str.contains(pattern)
    natural, off_topic = truth["noise"] == "natural", truth["noise"] == "off_topic"

    assert 0.5 < found[natural].mean() < 0.85
    assert 0.02 < found[off_topic].mean() < 0.2


def test_classification_tasks_have_equally_many_images_of_each_class(world: Path) -> None:
    for task, names in (("scenes", TARGET_CLASSES), ("other_scenes", OTHER_TASK_CLASSES)):
        folder = world / "targets" / task
        assert (folder / "dataset_type.txt").read_text() == "classification"
        assert names == tuple((folder / "classnames.txt").read_text().splitlines())
        for split, num_per_class in (("test", 4), ("val", 2)):
            assert (folder / split / "nshards.txt").read_text() == "1"
            files = members(folder / split / "0.tar")
            labels = [int(text) for name, text in files.items() if name.endswith(".cls")]
            assert [num_per_class] * len(names) == np.bincount(labels).tolist()


def test_retrieval_has_a_hundred_images_of_five_captions(world: Path) -> None:
    files = members(world / "targets/scenes_retrieval/test/0.tar")

    captions = [text.decode() for name, text in files.items() if name.endswith(".txt")]

    assert len(captions) == 100
    assert all(len(text.splitlines()) == 5 for text in captions)


def test_a_description_mentions_class_colour_setting_and_companion() -> None:
    scene = Scene(
        class_name="anchor", colour="red", setting="snow", style="outline", companion="umbrella"
    )

    text = describe_scene(scene, generator(3, "a test", 0))

    assert any(name in text for name in ("anchor", *SYNONYMS["anchor"]))
    assert "red" in text
    assert any(phrase in text for phrase in ("in the snow", "in winter", "on a snowy day"))
    assert "with an umbrella" in text


def test_every_class_has_synonyms_and_the_two_tasks_share_no_class() -> None:
    assert DRAWINGS.keys() == SYNONYMS.keys()
    assert not set(TARGET_CLASSES) & set(OTHER_TASK_CLASSES)


def test_shares_that_leave_too_few_intact_rows_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"add up to 0\.850"):
        replace(PARAMETERS, mismatched_fraction=0.7)
    with pytest.raises(ValidationError, match="sum is at most 1"):
        replace(PARAMETERS, off_topic_fraction=1.0)


def test_a_pool_too_small_for_its_duplicates_is_refused(tmp_path: Path) -> None:
    crowded = replace(
        SMALLEST, off_topic_fraction=0.98, leaked_fraction=0.0, duplicate_fraction=0.6
    )

    with pytest.raises(ParameterError, match="no intact row is left"):
        write_fabricated_pool(tmp_path / "world", crowded)

    assert not (tmp_path / "world").exists()
