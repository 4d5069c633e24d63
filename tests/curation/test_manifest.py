import numpy as np
import pytest

from tests.fakes import candidates, pool_table, sign_vectors
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.manifest import (
    MANIFEST_SCHEMA,
    count_hits,
    digest_of_manifest,
    manifest_of,
)
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode

CURATOR = TargetSimilarity(
    threshold=0.9, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.5, block_size=10
)
TEXTS = ["dog", "cat"]
TARGETS = sign_vectors([0x0000, 0xFFFF])


def manifest_for(rows: list[int], *, round_index: int = 0):
    captions = sign_vectors([0x0000, 0xFFFE, 0x00FF, 0x00FF])  # dog, nearly cat, neither twice
    block = candidates(captions, TARGETS, rows=rows)
    return manifest_of(
        CURATOR.select(block), pool=block.pool, target_texts=TEXTS, round_index=round_index
    )


def test_manifest_lists_what_is_kept_in_order_with_its_reason():
    manifest = manifest_for([3, 1, 0, 2], round_index=7)

    uids = pool_table(4)["uid"].to_pylist()
    assert manifest.schema == MANIFEST_SCHEMA
    assert [
        {
            "uid": uids[1],
            "score": 0.875,
            "nearest_target": "cat",
            "round": 7,
            "accepted_by": "relaxation",
        },
        {
            "uid": uids[0],
            "score": 1.0,
            "nearest_target": "dog",
            "round": 7,
            "accepted_by": "threshold",
        },
    ] == manifest.to_pylist()


def test_curator_that_ranks_nothing_leaves_score_and_target_empty():
    block = candidates(sign_vectors([1]), TARGETS)

    manifest = manifest_of(
        KeepAll().select(block), pool=block.pool, target_texts=TEXTS, round_index=0
    )

    assert [
        {
            "uid": block.pool["uid"][0].as_py(),
            "score": None,
            "nearest_target": None,
            "round": 0,
            "accepted_by": "all",
        }
    ] == manifest.to_pylist()


def test_manifest_of_nothing_has_the_columns():
    manifest = manifest_for([])

    assert manifest.num_rows == 0
    assert manifest.schema == MANIFEST_SCHEMA


def test_hits_are_counted_in_the_order_of_the_target_texts():
    manifest = manifest_for([0, 1, 2, 3])

    assert count_hits(manifest, [*TEXTS, "giraffe"]).tolist() == [1, 1, 0]


def test_equal_curations_write_equal_manifests_with_one_identity():
    first, again = manifest_for([0, 1, 2, 3]), manifest_for([0, 1, 2, 3])

    assert first.equals(again)
    assert digest_of_manifest(first) == digest_of_manifest(again)


@pytest.mark.parametrize("other", [([1, 0, 2, 3], 0), ([0, 1, 2, 3], 1), ([0, 2], 0)])
def test_order_round_and_pairs_make_the_identity(other):
    rows, round_index = other

    assert digest_of_manifest(manifest_for([0, 1, 2, 3])) != digest_of_manifest(
        manifest_for(rows, round_index=round_index)
    )


def test_score_is_not_part_of_the_identity():
    manifest = manifest_for([0, 1, 2, 3])
    rescored = manifest.set_column(1, "score", [np.zeros(manifest.num_rows, dtype=np.float32)])

    assert digest_of_manifest(manifest) == digest_of_manifest(rescored)
