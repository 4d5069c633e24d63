"""A checkpoint is affected, is not, or cannot be judged; the last is never taken for the second."""

import pyarrow as pa
import pytest

from vl_pipeline.data.pair_lists import PairList
from vl_pipeline.datasets.tracked_runs import TrackedCheckpoint
from vl_pipeline.errors import ParameterError
from vl_pipeline.pipelines.affected.judge import judge, render
from vl_pipeline.pipelines.affected.nodes import AffectedQuery, affected

A, B = "a" * 32, "b" * 32
LISTED = PairList(uids=frozenset({A}), image_hashes=frozenset(), urls=frozenset({"https://x/1"}))


def checkpoint(name: str, *uids: str, why: str = "", url: str | None = None) -> TrackedCheckpoint:
    pairs = pa.table(
        {
            "uid": pa.array(uids, pa.string()),
            "image_hash": pa.array([B for _ in uids], pa.string()),
            "url": pa.array([url for _ in uids], pa.string()),
        }
    )
    return TrackedCheckpoint(
        run_id=f"id-{name}",
        run_name=name,
        experiment="test",
        method="cit",
        path="data/06_models/cit",
        weights_digest=f"digest-{name}",
        pairs=None if why else pairs,
        why_unknown=why,
    )


def test_each_checkpoint_gets_its_verdict_and_the_affected_come_first() -> None:
    others = [checkpoint("clean", B), checkpoint("lost", why="no table"), checkpoint("hit", B, A)]

    report = judge(others, LISTED)

    assert [(v["run_name"], v["verdict"]) for v in report["checkpoints"]] == [
        ("hit", "affected"),
        ("lost", "cannot be judged"),
        ("clean", "not affected"),
    ]
    assert report["num_checkpoints"] == {"affected": 1, "cannot be judged": 1, "not affected": 1}
    assert report["checkpoints"][0]["first_uids"] == [A]


def test_a_url_finds_the_pairs_that_came_from_it() -> None:
    report = judge([checkpoint("hit", B, "c" * 32, url="https://x/1")], LISTED)

    assert report["checkpoints"][0]["num_affected_pairs"] == 2


def test_the_table_for_people_names_run_checkpoint_pairs_and_reasons() -> None:
    said = render(judge([checkpoint("hit", A), checkpoint("lost", why="no table")], LISTED))

    for word in (
        "1 affected, 1 cannot be judged",
        "id-hit",
        "digest-hit",
        A,
        "1 pairs",
        "no table",
    ):
        assert word in said


def test_a_store_without_checkpoints_affects_none() -> None:
    assert judge([], LISTED)["checkpoints"] == []


def test_without_a_list_the_parameter_to_set_is_named() -> None:
    with pytest.raises(ParameterError, match=r"affected\.list is not set"):
        affected(iter([]), AffectedQuery(list=None))
