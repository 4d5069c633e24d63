"""Pools that are no tars come through every check up to the pool that methods take."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes import distinct_picture, pair_members, write_tar
from tests.projects import copy_project, run
from vl_pipeline.curation.manifest import MANIFEST_SCHEMA

CAPTIONS = ["one red kite", "two blue kites", "three green kites"]
PICTURES = [distinct_picture(number) for number in range(len(CAPTIONS))]


def pictures_with_texts(folder: Path) -> None:
    for number, (picture, caption) in enumerate(zip(PICTURES, CAPTIONS, strict=True)):
        (folder / f"{number}.jpg").write_bytes(picture)
        (folder / f"{number}.txt").write_text(caption)


def pictures_with_a_table(folder: Path) -> None:
    for number, picture in enumerate(PICTURES):
        (folder / f"{number}.jpg").write_bytes(picture)
    with open(folder / "captions.csv", "w", newline="") as file:
        rows = [(f"{number}.jpg", caption) for number, caption in enumerate(CAPTIONS)]
        csv.writer(file).writerows([("image", "caption"), *rows])


def parquet(folder: Path) -> None:
    pq.write_table(pa.table({"image": PICTURES, "caption": CAPTIONS}), folder / "0.parquet")


def gzip_tar(folder: Path) -> None:
    parts = [pair_members(str(n), caption=c, image=PICTURES[n]) for n, c in enumerate(CAPTIONS)]
    tar = write_tar(folder / "0.tar", *parts)
    (folder / "0.tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
    tar.unlink()


def admit(project: Path, location: str, tmp_path: Path) -> dict:
    """Run the stages up to the admitted pool; gives the parameters."""
    task = tmp_path / "targets/kites"
    (task / "test").mkdir(parents=True)
    (task / "classnames.txt").write_text("kite\n")
    (task / "zeroshot_classification_templates.txt").write_text("{c}\n")
    write_tar(task / "test/0.tar", [("0.jpg", distinct_picture(9)), ("0.cls", b"0")])
    copy_project(project)
    parameters = {
        "pool": {"folder": location, "shards": "**"},
        "tasks": {"folder": str(task.parent), "curate_for": ["kites"], "evaluate_on": ["kites"]},
    }
    for stage in ("ingest", "screen", "validate"):
        run(project, stage, params=parameters)
    return parameters


@pytest.mark.parametrize("write", [pictures_with_texts, pictures_with_a_table, parquet, gzip_tar])
def test_a_pool_of_this_shape_is_admitted_whole(tmp_path: Path, write) -> None:
    folder, project = tmp_path / "pool", tmp_path / "project"
    folder.mkdir()
    write(folder)

    admit(project, str(folder), tmp_path)

    pool = pq.read_table(project / "data/03_primary/pool.parquet")
    assert sorted(pool["caption"].to_pylist()) == sorted(CAPTIONS)


def test_pairs_of_a_pool_behind_a_url_are_exported(tmp_path: Path) -> None:
    folder, project = tmp_path / "pool", tmp_path / "project"
    folder.mkdir()
    gzip_tar(folder)
    parameters = admit(project, f"file://{folder}", tmp_path)
    uids = pq.read_table(project / "data/03_primary/pool.parquet")["uid"].to_pylist()[1:]
    columns = [uids, [0.5, 0.5], ["kite"] * 2, [0] * 2, ["threshold"] * 2]
    sets = project / "data/05_model_input/cit"
    sets.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=MANIFEST_SCHEMA), sets / "curated_pairs.parquet")

    run(project, "export", params=parameters | {"export": {"method": "cit", "pairs": "curated"}})

    exported = (project / "data/08_reporting/export.json").read_text()
    assert json.loads(exported)["num_pairs"] == 2
