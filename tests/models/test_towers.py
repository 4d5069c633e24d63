import copy

import numpy as np
import open_clip
import pytest
import torch
from pydantic import ValidationError

from tests.fakes import fake_tokens, model_config, pixels_of
from vl_pipeline.data.tokens import tokenize
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.split_towers import split_image_tower, split_text_tower
from vl_pipeline.models.text_trunks import text_features
from vl_pipeline.models.towers import (
    CONFIG_FOLDER,
    DualEncoderConfig,
    ImageNormalization,
    build_tokenizer,
    build_towers,
    digest_of_sources,
)

TEXTS = ["a dog", "", "a photo of a very small giraffe that runs, and runs!"]


def theirs_and_ours(name: str):
    """open_clip's model and its towers taken apart, with equal weights."""
    open_clip.add_model_config(CONFIG_FOLDER)
    torch.manual_seed(0)
    theirs = open_clip.create_model(name, force_custom_text=True).eval()
    taken = copy.deepcopy(theirs)
    return theirs, split_image_tower(taken.visual), split_text_tower(taken.text)


@pytest.fixture(scope="module", params=["resnet-tiny-64", "vit-fake-16", "vit-fake-16-noncausal"])
def both(request, fake_vit_name):
    return theirs_and_ours(request.param)


def tokens_for(theirs) -> torch.Tensor:
    """Padded to the full context, as open_clip's models expect them."""
    if theirs.text.vocab_size == 100:
        tokens = fake_tokens(5, longest=theirs.text.context_length).padded(np.arange(5))
    else:
        tokens = build_tokenizer(model_config("resnet-tiny-64"))(TEXTS)
    missing = theirs.text.context_length - tokens.shape[1]
    return torch.nn.functional.pad(torch.from_numpy(tokens), (0, missing))


@torch.no_grad()
def test_image_tower_gives_open_clips_embeddings(both):
    theirs, image_tower, _ = both
    pixels = pixels_of(3, side_px=theirs.visual.image_size[0]).permute(0, 3, 1, 2) / 255

    ours = image_tower.projection(image_tower.trunk(pixels))

    assert torch.allclose(theirs.encode_image(pixels), ours, atol=1e-5)


@torch.no_grad()
def test_text_tower_gives_open_clips_embeddings(both):
    theirs, _, text_tower = both
    tokens = tokens_for(theirs)

    ours = text_tower.projection(text_features(text_tower.trunk, tokens))

    assert torch.allclose(theirs.encode_text(tokens), ours, atol=1e-5)


@torch.no_grad()
def test_trimmed_text_equals_padded_text(both):
    theirs, _, text_tower = both
    padded = tokens_for(theirs)
    longest = int((padded != 0).sum(dim=1).max())
    assert longest < padded.shape[1] or theirs.text.vocab_size == 100

    whole = text_features(text_tower.trunk, padded)
    for number, length in enumerate((padded != 0).sum(dim=1).tolist()):
        trimmed = text_features(text_tower.trunk, padded[number : number + 1, :length])

        assert torch.allclose(whole[number], trimmed[0], atol=1e-5)


@torch.no_grad()
def test_texts_differ_in_their_features(both):
    theirs, _, text_tower = both

    features = text_features(text_tower.trunk, tokens_for(theirs))

    assert (features[0] - features[1]).abs().max() > 0.01


def test_projection_is_all_that_leaves_the_trunk(both):
    theirs, image_tower, text_tower = both

    for tower, whole in ((image_tower, theirs.visual), (text_tower, theirs.text)):
        count = sum(p.numel() for p in tower.parameters())
        assert sum(p.numel() for p in whole.parameters()) == count
        assert sum(p.numel() for p in tower.projection.parameters()) > 0


def test_pixels_are_normalised_as_open_clip_does():
    pixels = pixels_of(2, side_px=4)
    normalize = ImageNormalization((0.5, 0.4, 0.3), (0.2, 0.1, 0.3))

    normalized = normalize(pixels)

    mean, std = (torch.tensor(x)[None, :, None, None] for x in ((0.5, 0.4, 0.3), (0.2, 0.1, 0.3)))
    expected = (pixels.permute(0, 3, 1, 2) / 255 - mean) / std
    assert torch.allclose(expected, normalized, atol=1e-5)
    assert set(normalize.state_dict()) == {"mean", "std"}  # a checkpoint knows its own


def test_normalising_row_by_row_changes_no_bit():
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = torch.arange(3 * 16 * 16 * 3, dtype=torch.int64).remainder(256).to(torch.uint8)
    pixels = pixels.reshape(3, 16, 16, 3)[:, :, 2:13]  # of no regular memory either

    normalized = ImageNormalization(mean, std)(pixels)

    plain = (pixels.float() - torch.tensor(mean) * 255) / (torch.tensor(std) * 255)
    assert torch.equal(plain.permute(0, 3, 1, 2), normalized)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_towers_are_built_with_the_side_of_their_images(fake_vit_name):
    config = DualEncoderConfig(
        name=fake_vit_name, pretrained=None, temperature=0.07, min_temperature=0.01
    )

    _, _, _, side_px = build_towers(config)

    assert side_px == 16


def test_model_that_open_clip_does_not_know_is_named():
    config = DualEncoderConfig(
        name="ViT-Z-99", pretrained=None, temperature=0.07, min_temperature=0.01
    )

    with pytest.raises(ParameterError, match=r"model\.name is 'ViT-Z-99'.*resnet-tiny-64"):
        build_towers(config)


def test_weights_that_do_not_exist_are_named(fake_vit_name):
    config = DualEncoderConfig(
        name=fake_vit_name, pretrained="no-such-tag", temperature=0.07, min_temperature=0.01
    )

    with pytest.raises(ParameterError, match="no-such-tag"):
        build_towers(config)


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"name": ""}, {"embed_dim": 5}])
def test_numbers_that_mean_nothing_are_refused(wrong):
    right = {"name": "ViT-B-32", "pretrained": None, "temperature": 1, "min_temperature": 0.01}

    with pytest.raises(ValidationError):
        DualEncoderConfig(**right | wrong)


def test_tokenizer_gives_the_models_context():
    tokens = tokenize(["dog " * 100], build_tokenizer(model_config("resnet-tiny-64")))

    assert tokens.lengths.tolist() == [32]  # cut, and its end token kept
    assert tokens.values[-1] == 49407


def test_sources_are_told_apart_by_the_content_of_files_and_by_the_names_of_tags(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    encoder = model_config("ViT-B-32", text_encoder=str(folder))
    tag = model_config("ViT-B-32", pretrained="openai")
    before = digest_of_sources(encoder)

    (folder / "config.json").write_text('{"hidden_size": 2}')

    assert before != digest_of_sources(encoder)
    assert digest_of_sources(tag) != digest_of_sources(model_config("ViT-B-32"))
