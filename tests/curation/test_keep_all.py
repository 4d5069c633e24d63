import numpy as np
import pytest
from pydantic import ValidationError

from tests.fakes import candidates, sign_vectors
from vl_pipeline.curation.keep_all import KeepAll


@pytest.mark.parametrize("num_pairs", [0, 1, 5])
def test_every_candidate_is_kept(num_pairs):
    block = candidates(sign_vectors(range(num_pairs)), sign_vectors([0]))

    selection = KeepAll().select(block)

    assert num_pairs == selection.keep.sum() == len(selection)
    assert {"dropped": 0, "all": num_pairs} == selection.count_by_reason()
    assert np.isnan(selection.score).all()


def test_rows_are_answered_in_their_order():
    block = candidates(sign_vectors(range(5)), sign_vectors([0]), rows=[4, 0, 2])

    assert KeepAll().select(block).kept.rows.tolist() == [4, 0, 2]


def test_nothing_is_calibrated_and_nothing_can_be_set():
    rule = KeepAll()

    assert rule is rule.calibrate(candidates(sign_vectors([0]), sign_vectors([0])))
    with pytest.raises(ValidationError):
        KeepAll(threshold=0.5)  # pyright: ignore[reportCallIssue]
