import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

from vl_pipeline.models import text_trunks
from vl_pipeline.models.text_trunks import text_features

START, END, CONTEXT = 98, 99, 20


def trunk_of(**options) -> TextTransformer:
    torch.manual_seed(0)
    sizes = {"context_length": CONTEXT, "vocab_size": 100, "width": 48, "heads": 4, "layers": 3}
    trunk = TextTransformer(**{**sizes, "eos_id": END, "proj_type": "none"} | options)
    for parameter in trunk.parameters():  # biases and norms are not what they start as
        nn.init.normal_(parameter, std=0.3)
    return trunk.eval()


def padded(*texts: list[int]) -> Tensor:
    return torch.tensor([[*text, *[0] * (CONTEXT - len(text))] for text in texts])


def random_texts(num: int, *, vocabulary: int = 90) -> Tensor:
    draw = np.random.default_rng(0)
    middles = [draw.integers(1, vocabulary, draw.integers(0, CONTEXT - 2)) for _ in range(num)]
    return padded(*([START, *middle.tolist(), END] for middle in middles))


BATCHES = {
    "random": random_texts(40),
    "with much in common": random_texts(60, vocabulary=3),
    "more than multiplied at once": random_texts(300),
    "repeated": random_texts(10).repeat(3, 1),
    "one": random_texts(1),
    "of one token": padded([END], [END], [START, END]),
    "of the whole context": padded([START, *[7] * 18, END], [START, *[7] * 17, 8, END]),
    "all equal": padded(*[[START, 5, 6, END]] * 9),
    "beginnings of others": padded(*([START, *[5] * n, END] for n in range(10))),
    "with tokens behind the end": padded([START, 5, END, 7], [START, 5, END], [START, 5, 6, END]),
}


@pytest.fixture
def only_by_beginning(monkeypatch):
    """No other way than by beginnings."""

    def refuse(*_):
        raise AssertionError("the trunk ran on padded texts")

    monkeypatch.setattr(text_trunks, "_padded_features", refuse)


@torch.no_grad()
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_beginnings_give_open_clips_own_output(only_by_beginning, batch, num_layers):
    trunk = trunk_of(layers=num_layers)

    ours = text_features(trunk, batch)

    torch.testing.assert_close(ours, trunk(batch), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours, text_features(trunk, batch[:, : longest(batch)]))


def longest(batch: Tensor) -> int:
    return int((batch != 0).sum(dim=1).max())


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"act_layer": QuickGELU},
        {"ls_init_value": 0.1},
        {"pool_type": "eos"},
        {"pool_type": "eos", "eos_id": 5},
        {"pool_type": "first"},
    ],
    ids=str,
)
def test_options_of_open_clip_are_kept_to(only_by_beginning, options):
    trunk, batch = trunk_of(**options), random_texts(30, vocabulary=8)

    torch.testing.assert_close(text_features(trunk, batch), trunk(batch), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_text_tower_as_wide_as_vit_b_32s(only_by_beginning):
    trunk, batch = trunk_of(width=512, heads=8, layers=2), random_texts(20)
    for parameter in trunk.parameters():
        parameter *= 0.1  # of a size that products of this width bear

    torch.testing.assert_close(text_features(trunk, batch), trunk(batch), atol=1e-4, rtol=1e-5)


SHARED_TRUNK = trunk_of()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), max_size=8), min_size=1, max_size=30))
def test_whatever_texts_have_in_common_the_output_is_open_clips(middles):
    batch = padded(*([START, *middle, END] for middle in middles))

    with torch.no_grad():
        ours, theirs = text_features(SHARED_TRUNK, batch), SHARED_TRUNK(batch)

    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_each_beginning_passes_once_and_the_last_block_ends_with_whole_texts(only_by_beginning):
    trunk = trunk_of(layers=2)
    rows: dict[str, int] = {}
    for name, norm in trunk.named_modules():
        if isinstance(norm, nn.LayerNorm):
            norm.register_forward_hook(lambda _, inputs, __, n=name: rows.update({n: len(*inputs)}))

    text_features(trunk, padded([START, 1, END], [START, 1, 2, END], [START, 1, END]))

    assert rows == {  # START; 1; END; 2; END behind 2
        "transformer.resblocks.0.ln_1": 5,
        "transformer.resblocks.0.ln_2": 5,
        "transformer.resblocks.1.ln_1": 5,
        "transformer.resblocks.1.ln_2": 3,
        "ln_final": 3,
    }


@torch.no_grad()
def test_equal_texts_of_a_batch_have_equal_features():
    batch = random_texts(10).repeat(3, 1)

    features = text_features(trunk_of(), batch)

    assert torch.equal(features[:10], features[10:20])
    assert torch.equal(features[:10], features[20:])


@torch.no_grad()
def test_without_onednn_the_output_is_the_same(monkeypatch):
    trunk, batch = trunk_of(), random_texts(30)
    with_it = text_features(trunk, batch)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)

    torch.testing.assert_close(text_features(trunk, batch), with_it, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"qk_norm": True}, {"scale_heads": True}, {"block_type": "custom"}], ids=str
)
def test_blocks_of_other_kinds_run_on_padded_texts(options):
    trunk, batch = trunk_of(**options), random_texts(40)

    torch.testing.assert_close(text_features(trunk, batch), trunk(batch), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("is_training", [True, False])
def test_gradients_are_those_of_open_clips_forward_on_whole_texts(is_training, monkeypatch):
    batch = random_texts(40)
    monkeypatch.delattr(text_trunks, "_features_by_beginning")
    ours, theirs = (trunk_of().train(is_training) for _ in range(2))

    text_features(ours, batch).square().mean().backward()
    theirs(batch).square().mean().backward()

    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_weights_in_double_precision_stay_so():
    trunk, batch = trunk_of().double(), random_texts(40)

    torch.testing.assert_close(text_features(trunk, batch), trunk(batch))
