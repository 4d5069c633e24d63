"""EfficientNet without its head, and text towers that answer at their first token."""

import copy
from importlib.util import find_spec

import numpy as np
import open_clip
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.fakes import fake_tokens, model_config, pixels_of
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.text_encoders import pooler_of, require_text_encoder
from vl_pipeline.models.text_trunks import text_features
from vl_pipeline.models.towers import (
    CONFIG_FOLDER,
    DualEncoderConfig,
    build_tokenizer,
    build_towers,
)
from vl_pipeline.models.weights import load_model, save_model

TINY = "align-tiny-64"
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="text encoders of Hugging Face need transformers"
)


def config(name: str = TINY, **settings) -> DualEncoderConfig:
    defaults = {"pretrained": None, "temperature": 1.0, "min_temperature": 0.01}
    return DualEncoderConfig(name=name, keep_image_head=False, **defaults | settings)


@pytest.fixture(scope="module")
def tiny() -> DualEncoder:
    return DualEncoder(config(image_resize_px=77), seed=0).eval()


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def test_image_features_are_the_pooled_output_of_the_last_block(tiny):
    pixels = pixels_of(2, side_px=64)
    trunk = tiny.image_tower.trunk
    blocks = trunk.blocks(trunk.bn1(trunk.conv_stem(tiny.normalize(pixels))))

    features = tiny.image_features(pixels)

    assert torch.allclose(blocks.mean(dim=(2, 3)), features, atol=1e-5)
    assert tiny.image_tower.projection.in_features == features.shape[1]


def test_the_head_is_what_is_taken_out_and_nothing_else():
    whole = open_clip.create_model(TINY, force_custom_text=True)
    trunk = whole.visual.trunk
    head = num_parameters(trunk.conv_head) + num_parameters(trunk.bn2)

    ours, *_ = build_towers(config())

    assert num_parameters(ours.trunk) == num_parameters(trunk) - head
    assert head > 0


def test_another_kind_of_image_tower_has_no_such_head():
    with pytest.raises(ParameterError, match="no EfficientNet"):
        build_towers(config("resnet-tiny-64"))


def test_weights_of_both_towers_know_no_projection_of_the_cut_tower():
    with pytest.raises(ValidationError, match="has to be null"):
        config("ViT-B-32", pretrained="openai")


def test_a_square_cannot_be_larger_than_the_image_it_is_cut_out_of():
    with pytest.raises(ParameterError, match="image_resize_px is 63; a square of 64 px"):
        build_towers(config(image_resize_px=63))


@pytest.mark.parametrize(
    ("name", "width", "millions", "has_projection"),
    [
        ("align-b3", 384, 10.1, True),
        ("align-b7", 640, 62.1, False),
        ("align-l2", 1376, 467, False),
    ],
)
def test_efficientnets_have_the_published_width_and_size(name, width, millions, has_projection):
    with torch.device("meta"):  # sizes without memory
        image_tower, *_, side_px = build_towers(config(name, image_resize_px=346))
        features = image_tower.trunk(torch.zeros(1, 3, 64, 64))

    assert side_px == 289
    assert features.shape == (1, width)
    assert num_parameters(image_tower.trunk) / 1e6 == pytest.approx(millions, rel=5e-3)
    assert isinstance(image_tower.projection, nn.Linear) == has_projection


# --- text towers


@torch.no_grad()
def test_first_token_tower_gives_the_same_at_any_padding_and_in_any_company(tiny):
    tokens = fake_tokens(40, vocabulary=49408, longest=12)
    longest = torch.from_numpy(tokens.padded(np.arange(40)))
    trunk = tiny.text_tower.trunk

    together = text_features(trunk, nn.functional.pad(longest, (0, 64 - longest.shape[1])))
    alone = torch.cat(
        [text_features(trunk, torch.from_numpy(tokens.padded(np.array([i])))) for i in range(40)]
    )

    assert torch.allclose(together, alone, atol=1e-5)


@torch.no_grad()
def test_first_token_tower_is_open_clips_where_nothing_is_padding(tiny):
    trunk = copy.deepcopy(tiny.text_tower.trunk)
    tokens = torch.randint(1, 49408, (3, 64), generator=torch.Generator().manual_seed(0))

    assert torch.allclose(trunk(tokens), text_features(trunk, tokens), atol=1e-5)


@torch.no_grad()
def test_first_token_tower_reads_what_comes_after_its_first_token(tiny):
    first, second = (torch.tensor([[49406, n, 49407]]) for n in (5, 6))
    trunk = tiny.text_tower.trunk

    assert not torch.allclose(text_features(trunk, first), text_features(trunk, second))


@needs_transformers
@pytest.mark.parametrize(
    ("folder", "millions"),
    # 12 h^2 a layer, and 49,408 + 64 + 1 rows of h
    [("bert_mini", 15.8), ("bert_large", 353.0)],
)
def test_berts_are_built_from_a_description_alone_and_read_clips_tokens(folder, millions):
    settings = config("align-b7", text_encoder=str(CONFIG_FOLDER / folder))

    with torch.device("meta"):
        _, text_tower, *_ = build_towers(settings)
    tokens = build_tokenizer(settings)(["a dog"])

    assert num_parameters(text_tower.trunk) / 1e6 == pytest.approx(millions, rel=5e-3)
    assert isinstance(text_tower.projection, nn.Linear)
    assert text_tower.projection.bias is None
    assert tokens.shape == (1, 64)
    assert tokens[0, :4].tolist() == [49406, 320, 1929, 49407]


@needs_transformers
@torch.no_grad()
def test_bert_answers_with_the_last_layers_first_token(tmp_path):
    folder = str(CONFIG_FOLDER / "bert_mini")
    model = DualEncoder(config(text_encoder=folder), seed=0).eval()
    tokens = torch.tensor([[49406, 320, 1929, 49407, 0]])

    features = model.text_features(tokens)

    bert = model.text_tower.trunk.transformer
    hidden = bert(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state
    assert torch.allclose(features, hidden[:, 0], atol=1e-6)
    assert bert.pooler is None
    assert pooler_of(CONFIG_FOLDER / "bert_mini") == "cls_last_hidden_state_pooler"

    save_model(model, config(text_encoder=folder), tmp_path)
    loaded, _ = load_model(tmp_path, device=torch.device("cpu"))
    assert torch.equal(loaded.text_features(tokens), features)


@needs_transformers
def test_an_encoder_with_neither_tokenizer_nor_room_for_clips_tokens_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 30522}')

    with pytest.raises(ParameterError, match=r"holds no tokenizer .* vocab_size is 30522"):
        require_text_encoder(tmp_path)


def test_a_checkpoint_keeps_how_images_are_cut(tiny, tmp_path):
    save_model(tiny, config(image_resize_px=77), tmp_path)

    loaded, _ = load_model(tmp_path, device=torch.device("cpu"))

    assert loaded.image_resize_px == 77
    pixels = pixels_of(2, side_px=64)
    assert torch.equal(loaded.image_features(pixels), tiny.image_features(pixels))


def test_other_models_keep_their_head_and_their_views():
    assert model_config("resnet-tiny-64").keep_image_head
    assert model_config("resnet-tiny-64").image_resize_px is None
