from pathlib import Path

import numpy as np
import torch

from tests.fakes import model_config, pool_table, unit
from vl_pipeline.data.tokens import tokenize
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.prompts import mean_of_prompts, prompts
from vl_pipeline.embedding.store import Embeddings, fill_embeddings, read_embeddings
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.training.run import look_with
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import Start, embed_captions

CPU = torch.device("cpu")
CLASSES = ["dog", "granny smith apple"]
TEMPLATES = ("{c}", "a photo of a {c} on a table")


def test_prompts_put_every_name_into_every_template():
    filled = prompts(["cat", "dog"], ["a {c}.", "{c} and {c} {x}"])

    assert filled == ["a cat.", "cat and cat {x}", "a dog.", "dog and dog {x}"]


def test_a_class_is_the_unit_mean_of_its_prompts():
    embeddings = unit([1, 0], [0, 1], [0, -1], [0, -1])

    weights = mean_of_prompts(embeddings, num_classes=2)

    np.testing.assert_allclose([[0.5**0.5, 0.5**0.5], [0, -1]], weights, rtol=1e-6)


def test_prompts_that_cancel_out_give_a_finite_weight():
    weights = mean_of_prompts(unit([1, 0], [-1, 0]), num_classes=1)

    np.testing.assert_array_equal([[0, 0]], weights)


def started(templates: tuple[str, ...], cache: Path) -> Start:
    config = model_config("resnet-tiny-64")
    simcse = SimCse(
        num_steps=0, batch_size=2, learning_rate=1e-3, temperature=0.2, dropout=0.1, seed=0
    )
    return embed_captions(
        ["a dog", "an apple"],
        CLASSES,
        target_templates=templates,
        config=config,
        simcse=simcse,
        tokenizer=build_tokenizer(config),
        device=CPU,
        cache=cache,
    )


def test_a_target_is_the_unit_mean_of_its_templates(tmp_path):
    bare, written_out = (started((t,), tmp_path).embeddings.targets for t in TEMPLATES)

    both = started(TEMPLATES, tmp_path).embeddings

    np.testing.assert_allclose(unit(*(bare + written_out)), both.targets, atol=1e-6)
    assert both.target_texts == CLASSES
    assert np.abs(bare - written_out).max() > 0.01


def test_rounds_compare_with_the_same_targets_as_before_training(tmp_path):
    start = started(TEMPLATES, tmp_path)
    written_out = prompts(CLASSES, TEMPLATES)
    tokenizer = build_tokenizer(model_config("resnet-tiny-64"))
    tokens = tokenize(written_out, tokenizer)
    encoder = TextEncoder(start.model, CPU)

    look = look_with(encoder, pool_table(2), start.tokens, CLASSES, tokens)()

    found = look(np.arange(2))
    np.testing.assert_allclose(start.embeddings.targets, found.target_features, atol=1e-6)
    assert list(found.target_texts) == CLASSES


def test_templates_are_read_back_with_the_embeddings(tmp_path):
    embeddings = Embeddings(
        captions=unit([1, 0]),
        targets=unit([0, 1]),
        target_texts=["dog"],
        encoder_digest="0" * 32,
        target_templates=TEMPLATES,
    )
    fill_embeddings(tmp_path, embeddings, pool=pool_table(1))

    assert read_embeddings(tmp_path, pool=pool_table(1)).target_templates == TEMPLATES
