import numpy as np
import torch

from tests.fakes import tokens_of
from vl_pipeline.embedding import captions
from vl_pipeline.embedding.captions import PoolCaptions, StandingEncoder
from vl_pipeline.embedding.encode import TextEncoder

CPU = torch.device("cpu")
TOKENS = tokens_of(
    [98, 1, 99], [98, 2, 99], [98, 1, 99], [98, 3, 3, 99], [98, 2, 99], [98, 1, 99], [98, 4, 99]
)
BLOCKS = [[0, 1], [2, 3, 4], [5, 0], [6, 3]]


def in_blocks(model) -> tuple[np.ndarray, StandingEncoder]:
    encoder = StandingEncoder(TextEncoder(model, CPU), PoolCaptions(TOKENS))
    return np.concatenate([encoder.features(np.array(rows)) for rows in BLOCKS]), encoder


def expected_of(model) -> np.ndarray:
    return TextEncoder(model, CPU).features(TOKENS)[np.concatenate(BLOCKS)]


def test_features_are_the_encoders_own_in_the_order_asked_for(fake_vit):
    features, _ = in_blocks(fake_vit)

    assert np.allclose(expected_of(fake_vit), features, atol=1e-6)


def test_captions_that_come_up_in_several_blocks_pass_the_tower_once(fake_vit):
    features, encoder = in_blocks(fake_vit)

    # 0 and 1; 3; none; 6 and 3 again, whose caption the pool has once
    assert encoder.num_encoded == 2 + 1 + 0 + 2
    assert np.array_equal(features[0], features[2])  # row 0 and its equal, row 2


def test_no_more_is_remembered_than_the_bound(fake_vit, monkeypatch):
    monkeypatch.setattr(captions, "_REMEMBERED_BYTES", 1)

    features, encoder = in_blocks(fake_vit)

    assert np.allclose(expected_of(fake_vit), features, atol=1e-6)
    assert len(encoder._known) == 1


def test_no_rows_have_no_features(fake_vit):
    encoder = StandingEncoder(TextEncoder(fake_vit, CPU), PoolCaptions(TOKENS))

    assert len(encoder.features(np.zeros(0, dtype=np.int64))) == 0
    encoder.features(np.array([0]))
    assert len(encoder.features(np.zeros(0, dtype=np.int64))) == 0
