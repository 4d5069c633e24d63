import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fakes import model_config, pool_table, write_text_encoder
from vl_pipeline.embedding.store import fill_embeddings, read_embeddings
from vl_pipeline.errors import PoolError
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import Start, embed_captions

NAME = "resnet-tiny-64"
SIMCSE = SimCse(num_steps=0, batch_size=2, learning_rate=1e-3, temperature=0.1, dropout=0.1, seed=0)


def start(tmp_path, **settings) -> Start:
    config = settings.get("config", model_config(NAME))
    return embed_captions(
        ["a dog", "a cat", "a red dog"],
        ["dog"],
        device=torch.device("cpu"),
        cache=tmp_path / "cache",
        **{"config": config, "simcse": SIMCSE, "tokenizer": build_tokenizer(config)} | settings,
    )


def test_captions_that_nobody_asks_for_are_tokenised_and_not_encoded(tmp_path) -> None:
    whole, without = start(tmp_path), start(tmp_path, encode_captions=False)
    (tmp_path / "stored").mkdir()

    fill_embeddings(tmp_path / "stored", without.embeddings, pool=pool_table(3))
    found = read_embeddings(tmp_path / "stored", pool=pool_table(3))

    assert np.array_equal(whole.tokens.values, without.tokens.values)
    assert np.allclose(found.targets, whole.embeddings.targets, atol=1e-3)
    assert found.captions is None
    with pytest.raises(PoolError, match="needs_caption_features = False"):
        found.captions_of(np.arange(3))


def test_captions_are_encoded_unless_it_is_said_that_nobody_asks(tmp_path) -> None:
    (tmp_path / "stored").mkdir()

    fill_embeddings(tmp_path / "stored", start(tmp_path).embeddings, pool=pool_table(3))
    found = read_embeddings(tmp_path / "stored", pool=pool_table(3))

    lengths = np.linalg.norm(found.captions_of(np.arange(3)), axis=1)
    assert lengths == pytest.approx(np.ones(3), abs=1e-6)


def test_another_description_of_the_text_tower_under_the_same_name_is_started_anew(
    tmp_path,
) -> None:
    folder = write_text_encoder(tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    config = model_config(NAME, text_encoder=str(folder))
    started = []
    for activation in ("gelu", "relu"):
        description = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(description | {"hidden_act": activation}))
        started.append(start(tmp_path, config=config, simcse=replace(SIMCSE, num_steps=1)))

    assert len(list((tmp_path / "cache").iterdir())) == 2
    first, second = (s.embeddings.encoder_digest for s in started)
    assert first != second
