"""Pools that hold nothing to work with stop the run where that is known, and say what to do."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fakes import Members, distinct_picture, pair_members, picture, write_tar
from tests.projects import copy_project, run
from vl_pipeline.errors import PoolError, ShardError

NO_PAIRS: list[Members] = []
NO_SURVIVORS = [pair_members("0", caption="ab", image=distinct_picture(1)), pair_members("1")]


def project_with_pool(folder: Path, *shards: list[Members]) -> tuple[Path, dict]:
    """A project in `folder`, and parameters that name a pool of these shards."""
    pool = folder / "pool"
    pool.mkdir()
    for number, parts in enumerate(shards):
        write_tar(pool / f"{number}.tar", *parts)
    return copy_project(folder / "project"), {"pool": {"folder": str(pool)}}


def test_pool_without_shards_stops_before_anything_is_written(tmp_path: Path) -> None:
    project, parameters = project_with_pool(tmp_path)

    with pytest.raises(ShardError, match=r"no shard matches '\*\.tar'.*set pool\.folder"):
        run(project, "cit", params=parameters)

    assert not list((project / "data").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("parts", "listed", "culprit"),
    [
        (NO_PAIRS, 0, "nothing was turned away"),
        (NO_SURVIVORS, 2, "'caption_too_short' turned away most, 1"),
    ],
    ids=["no pairs", "no survivors"],
)
def test_pool_without_pairs_is_not_admitted_and_leaves_its_report(
    tmp_path: Path, parts: list[Members], listed: int, culprit: str
) -> None:
    project, parameters = project_with_pool(tmp_path, parts)

    with pytest.raises(PoolError) as error:
        run(project, "cit", params=parameters)

    message = str(error.value)
    assert "enough_pairs: accounts.kept: expected kept >= 1; found 0" in message
    assert culprit in message
    assert "name more shards (pool.shards)" in message
    ledger = pq.read_table(project / "data/03_primary/ledger.parquet")
    assert ledger.num_rows == listed
    assert (project / "data/08_reporting/validation/report.html").exists()
    assert not (project / "data/03_primary/pool.parquet").exists()


def test_pool_over_a_limit_of_the_configuration_is_charged_to_it(tmp_path: Path) -> None:
    parts = [pair_members("0", image=picture(width=40, height=40)), pair_members("1")]
    project, parameters = project_with_pool(tmp_path, parts)
    parameters["pool"]["limits"] = {"max_pixels": 1599}

    run(project, "ingest", params=parameters)

    ledger = pq.read_table(project / "data/02_intermediate/ingest_ledger.parquet")
    assert ledger["rule"].to_pylist() == ["image_too_many_pixels", "missing_image"]
