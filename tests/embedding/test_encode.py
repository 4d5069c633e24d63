from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import build_model, distinct_picture, fake_tokens, tokens_of
from vl_pipeline.data.loader import load_evaluation_views
from vl_pipeline.embedding import encode
from vl_pipeline.embedding.encode import TextEncoder, batches_by_length, encode_images
from vl_pipeline.models.dual_encoder import unit

CPU = torch.device("cpu")


@torch.no_grad()
def one_by_one(model, tokens, *, project: bool) -> np.ndarray:
    model.eval()
    rows = []
    for row in range(len(tokens)):
        vectors = model.text_features(torch.from_numpy(tokens.padded(np.array([row]))))
        rows.append(unit(model.text_tower.projection(vectors) if project else vectors)[0].numpy())
    return np.stack(rows)


def test_features_are_those_of_each_text_alone_in_the_order_of_the_texts(fake_vit):
    tokens = fake_tokens(30, longest=12)

    features = TextEncoder(fake_vit, CPU).features(tokens)

    expected = one_by_one(fake_vit, tokens, project=False)
    assert np.allclose(expected, features, atol=1e-5)
    assert np.abs(expected - expected[::-1]).max() > 0.1  # another order would show


def test_embeddings_are_projected_features(fake_vit):
    tokens = fake_tokens(10)

    embeddings = TextEncoder(fake_vit, CPU).embeddings(tokens)

    assert embeddings.shape == (10, 24)
    assert np.allclose(one_by_one(fake_vit, tokens, project=True), embeddings, atol=1e-5)


def test_vectors_have_unit_length_in_float32(fake_vit):
    features = TextEncoder(fake_vit, CPU).features(fake_tokens(10))

    assert np.float32 == features.dtype
    assert np.allclose(1, np.linalg.norm(features, axis=1), atol=1e-6)


def test_rows_are_encoded_in_the_order_asked_for(fake_vit):
    tokens, encoder = fake_tokens(10), TextEncoder(fake_vit, CPU)

    some = encoder.features(tokens, np.array([7, 2, 7]))

    assert np.allclose(encoder.features(tokens)[[7, 2, 7]], some, atol=1e-6)


@pytest.mark.parametrize("is_training", [True, False])
def test_mode_of_the_model_is_left_as_it_was(fake_vit, is_training):
    fake_vit.train(is_training)

    TextEncoder(fake_vit, CPU).features(fake_tokens(3))

    assert is_training == fake_vit.training


def test_later_training_shows_in_later_calls(fake_vit):
    encoder, tokens = TextEncoder(fake_vit, CPU), fake_tokens(3)
    before = encoder.features(tokens)

    with torch.no_grad():
        fake_vit.text_tower.trunk.ln_final.bias += torch.randn(32)

    assert np.abs(before - encoder.features(tokens)).max() > 0.01


def test_no_texts_give_no_vectors(fake_vit):
    assert len(TextEncoder(fake_vit, CPU).features(fake_tokens(3), np.zeros(0, dtype=int))) == 0


@given(st.lists(st.integers(2, 77), max_size=300))
def test_batches_hold_each_text_once_and_go_from_short_to_long(lengths):
    lengths = np.array(lengths, dtype=np.int64)

    batches = batches_by_length(lengths)

    places = [place for batch in batches for place in batch.tolist()]
    assert list(range(len(lengths))) == sorted(places)
    assert sorted(lengths.tolist()) == lengths[places].tolist()


@given(st.lists(st.integers(1000, 6000), max_size=20))
def test_batch_holds_about_as_many_tokens_as_it_may(lengths):
    lengths = np.array(lengths, dtype=np.int64)

    for batch in batches_by_length(lengths):
        padded = len(batch) * lengths[batch].max()
        assert len(batch) == 1 or padded <= encode._TOKENS_AT_ONCE


@given(st.lists(st.integers(2, 77), max_size=300))
def test_batch_has_little_padding_and_none_could_take_the_next_text(lengths):
    lengths = np.array(lengths, dtype=np.int64)
    batches = batches_by_length(lengths)

    def padding(batch):
        return len(batch) * lengths[batch].max() - lengths[batch].sum()

    for batch, following in pairwise(batches):
        longer = np.append(batch, following[0])
        too_long = len(longer) * lengths[longer].max() > encode._TOKENS_AT_ONCE
        assert padding(batch) <= encode._PADDING_AT_ONCE
        assert too_long or padding(longer) > encode._PADDING_AT_ONCE


def test_features_can_be_rounded_as_they_come(fake_vit):
    tokens = fake_tokens(30, longest=12)
    encoder = TextEncoder(fake_vit, CPU)

    rounded = encoder.features(tokens, dtype=np.float16)

    assert np.float16 == rounded.dtype
    assert (encoder.features(tokens).astype(np.float16) == rounded).all()


def test_batch_of_short_texts_is_bounded_too():
    sizes = [len(batch) for batch in batches_by_length(np.full(2500, 2))]

    assert sizes == [1024, 1024, 452]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_images_are_encoded_in_order_whatever_the_batch(fake_vit, batch_size):
    images = [distinct_picture(n) for n in range(5)]

    embeddings = encode_images(fake_vit, images, device=CPU, batch_size=batch_size, num_threads=2)

    pixels = torch.from_numpy(load_evaluation_views(images, side_px=16))
    with torch.no_grad():
        expected = unit(fake_vit.image_tower.projection(fake_vit.image_features(pixels)))
    assert np.allclose(expected.numpy(), embeddings, atol=1e-5)
    assert np.abs(embeddings - embeddings[::-1]).max() > 0.01


def test_images_are_encoded_with_batch_statistics_at_rest(resnet):
    resnet.train()
    images = [distinct_picture(n, width=64, height=64) for n in range(3)]

    alone = encode_images(resnet, images[:1], device=CPU, batch_size=1, num_threads=1)
    together = encode_images(resnet, images, device=CPU, batch_size=3, num_threads=1)

    assert np.allclose(alone[0], together[0], atol=1e-5)


class CountedTrunk(torch.nn.Module):
    """Counts the texts that pass a function; stands in for `text_features`."""

    def __init__(self, original) -> None:
        super().__init__()
        self.original = original
        self.num_texts = 0

    def forward(self, trunk, tokens):
        self.num_texts += len(tokens)
        return self.original(trunk, tokens)


@pytest.fixture
def counted(monkeypatch) -> CountedTrunk:
    counted = CountedTrunk(encode.text_features)
    monkeypatch.setattr(encode, "text_features", counted)
    return counted


def test_equal_texts_pass_the_tower_once_and_have_equal_features(fake_vit, counted):
    tokens = tokens_of([98, 1, 99], [98, 2, 3, 99], [98, 1, 99], [98, 1, 1, 99], [98, 1, 99])

    features = TextEncoder(fake_vit, CPU).features(tokens)

    assert counted.num_texts == 3
    assert np.allclose(one_by_one(fake_vit, tokens, project=False), features, atol=1e-6)
    assert np.array_equal(features[[0, 0]], features[[2, 4]])
    assert np.abs(features[0] - features[3]).max() > 0.01


def test_encoder_with_a_trunk_of_its_own_stays_as_it_was(fake_vit):
    encoder, tokens = TextEncoder(fake_vit, CPU), fake_tokens(5)
    before = encoder.features(tokens)
    weights = encoder.trunk_weights()
    other = encoder.with_trunk(weights)
    with torch.no_grad():
        for parameter in fake_vit.parameters():
            parameter += torch.randn_like(parameter)
    fake_vit.train()

    assert np.array_equal(before, other.features(tokens))
    assert np.array_equal(before, encoder.with_trunk(weights).features(tokens))
    assert np.abs(before - encoder.features(tokens)).max() > 0.01
    assert fake_vit.text_tower.training


@pytest.mark.parametrize("name", ["vit-fake-16", "vit-fake-16-noncausal"])
def test_length_buckets_give_what_padding_to_the_whole_context_gives(fake_vit_name, name):
    # float32 rounding in another order: 1e-5 on features of length 1
    model = build_model(name).eval()
    tokens = fake_tokens(40, longest=11)
    padded = np.zeros((40, model.text_tower.trunk.context_length), dtype=np.int64)
    short = tokens.padded(np.arange(40))
    padded[:, : short.shape[1]] = short
    trunk = model.text_tower.trunk

    with torch.no_grad():
        if trunk.attn_mask is None:
            expected = trunk(torch.from_numpy(padded))
        else:
            embedded = trunk.token_embedding(torch.from_numpy(padded)) + trunk.positional_embedding
            hidden = trunk.ln_final(trunk.transformer(embedded, attn_mask=trunk.attn_mask))
            expected = hidden[torch.arange(40), torch.from_numpy(padded).argmax(dim=1)]

    features = TextEncoder(model, CPU).features(tokens)

    assert len(set(tokens.lengths.tolist())) > 5
    assert np.allclose(unit(expected).numpy(), features, atol=1e-5)
