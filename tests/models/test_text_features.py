"""A text trunk gives open_clip's features, however its tokens are padded, grouped and shared."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.models.test_towers import theirs_and_ours, tokens_for
from vl_pipeline.models import text_features as module
from vl_pipeline.models.text_features import _beginnings, has_plain_blocks, text_features

VOCABULARY, CONTEXT = 8, 6
END = VOCABULARY - 1
TEXT = st.lists(st.integers(1, END - 1), max_size=CONTEXT - 1)


def trunk_of(**config: object) -> nn.Module:
    """A causal text tower without its projection, small enough to compare many texts."""
    from open_clip.transformer import TextTransformer

    torch.manual_seed(0)
    text = TextTransformer(
        **{"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 16, "heads": 2}
        | {"layers": 3, "output_dim": None, "ls_init_value": 0.5}
        | config
    )
    text.text_projection = None
    nn.init.normal_(text.positional_embedding)
    nn.init.normal_(text.token_embedding.weight)
    return text.eval()


def padded(texts: list[list[int]], length: int = CONTEXT) -> torch.Tensor:
    return torch.tensor([[*t, END] + [0] * (length - 1 - len(t)) for t in texts])


TRUNK = trunk_of()


@given(st.lists(TEXT, min_size=1, max_size=12))
@torch.no_grad()
def test_any_texts_have_open_clips_features(texts: list[list[int]]) -> None:
    tokens = padded(texts)

    assert torch.allclose(TRUNK(tokens), text_features(TRUNK, tokens), atol=1e-5)


@given(st.lists(st.lists(st.integers(0, END), min_size=1, max_size=4), min_size=1, max_size=12))
@torch.no_grad()
def test_tokens_in_no_sensible_order_have_open_clips_features(
    rows: list[list[int]],
) -> None:
    tokens = torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])

    assert torch.allclose(TRUNK(tokens), text_features(TRUNK, tokens), atol=1e-5)


@pytest.mark.parametrize(
    "config", [{"pool_type": "eos", "eos_id": END}, {"layers": 1}, {"ls_init_value": None}]
)
@torch.no_grad()
def test_other_towers_have_open_clips_features(config: dict[str, object]) -> None:
    text = trunk_of(**config)
    tokens = padded([[1, 2], [], [1, 2, 3], [1, 2], [4]])
    assert has_plain_blocks(text)

    assert torch.allclose(text(tokens), text_features(text, tokens), atol=1e-5)


@torch.no_grad()
def test_blocks_of_another_kind_are_run_by_open_clip() -> None:
    text = trunk_of(block_type="custom", scale_heads=True)
    tokens = padded([[1, 2], [], [1, 2, 3]])
    assert not has_plain_blocks(text)

    assert torch.allclose(text(tokens), text_features(text, tokens), atol=1e-5)


def test_a_beginning_is_there_once() -> None:
    texts = padded([[1, 2, 3], [1, 2], [1, 2, 3], [2], [1, 4]])

    found = _beginnings(texts, texts.argmax(1))

    said = [
        tuple(texts[text, : position + 1].tolist())
        for text, position in zip(found.text, found.position, strict=True)
    ]
    expected = {(1,), (1, 2), (1, 2, 3), (1, 2, 3, END), (1, 2, END), (2,), (2, END)}
    assert sorted(said) == sorted(expected | {(1, 4), (1, 4, END)})
    for row, text in enumerate(texts.tolist()):
        beginnings = [tuple(text[: position + 1]) for position in range(found.end[row] + 1)]
        assert [said[node] for node in found.node[row, : found.end[row] + 1]] == beginnings


def test_features_are_equal_with_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = padded([[1, 2], [], [1, 2, 3], [1, 2], [4]] * 10)
    monkeypatch.setattr(module, "_TEXTS_TOGETHER", 4)

    with_gradient = text_features(TRUNK, tokens)
    with torch.no_grad():
        without = text_features(TRUNK, tokens)

    assert with_gradient.requires_grad
    assert torch.allclose(with_gradient, without, atol=1e-5)


@pytest.fixture(scope="module", params=["resnet-tiny-64", "vit-fake-16", "vit-fake-16-noncausal"])
def both(request: pytest.FixtureRequest, fake_vit_name: str) -> tuple[nn.Module, nn.Module]:
    """open_clip's model, and its text trunk with equal weights."""
    theirs, _, text_tower = theirs_and_ours(request.param)
    return theirs, text_tower.trunk


@torch.no_grad()
def test_trimmed_text_equals_padded_text(both):
    theirs, text = both
    padded = tokens_for(theirs)
    longest = int((padded != 0).sum(dim=1).max())
    assert longest < padded.shape[1] or theirs.text.vocab_size == 100

    whole = text_features(text, padded)
    for number, length in enumerate((padded != 0).sum(dim=1).tolist()):
        trimmed = text_features(text, padded[number : number + 1, :length])

        assert torch.allclose(whole[number], trimmed[0], atol=1e-5)


@torch.no_grad()
def test_texts_differ_in_their_features(both):
    theirs, text = both

    features = text_features(text, tokens_for(theirs))

    assert (features[0] - features[1]).abs().max() > 0.01
