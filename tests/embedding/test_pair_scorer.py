import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.fakes import model_config, pool_table, write_pool_shard
from vl_pipeline.data import chunks
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.tokens import tokenize
from vl_pipeline.embedding.encode import TextEncoder, encode_images
from vl_pipeline.embedding.pair_scorer import PairScorer, score_pool
from vl_pipeline.embedding.store import PairScores, fill_pair_scores, read_pair_scores
from vl_pipeline.errors import CurationError, ParameterError, PoolError
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.models.weights import save_model

CPU = torch.device("cpu")
NAME = "resnet-tiny-64"


def scorer(**fields) -> PairScorer:
    defaults = {"checkpoint": None, "name": None, "pretrained": None}
    return PairScorer(**defaults | {"batch_size": 4, "num_threads": 1} | fields)


@pytest.fixture
def checkpoint(tmp_path, resnet) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_model(resnet, model_config(NAME), folder)
    return folder


@pytest.fixture
def pool(tmp_path):
    return write_pool_shard(tmp_path / "0.tar", [f"a red square, number {n}" for n in range(6)])


def scores_of(pool, folder, who, *, cache=None) -> PairScores:
    images = PoolImages(pool, folder)
    return score_pool(pool, images, who, device=CPU, cache=cache or folder / "cache")


def test_a_score_is_the_cosine_of_image_and_caption_embedding(tmp_path, pool, checkpoint, resnet):
    scores = scores_of(pool, tmp_path, scorer(checkpoint=str(checkpoint))).scores

    tokens = tokenize(pool["caption"].to_pylist(), build_tokenizer(model_config(NAME)))
    images = PoolImages(pool, tmp_path)
    for row in range(6):  # each pair alone, in the space that both towers project to
        image = encode_images(resnet, [images.read(row)], device=CPU, batch_size=1, num_threads=1)
        text = TextEncoder(resnet, CPU).embeddings(tokens, np.array([row]))
        assert float(image[0] @ text[0]) == pytest.approx(scores[row], abs=1e-5)
    assert scores.dtype == np.float32
    assert np.ptp(scores) > 1e-3  # another order would show


def test_scores_follow_the_pairs_when_the_pool_is_reordered(tmp_path, pool, checkpoint):
    who = scorer(checkpoint=str(checkpoint))
    order = [3, 0, 5, 1, 4, 2]

    scores = scores_of(pool, tmp_path, who).scores
    reordered = scores_of(pool.take(order), tmp_path, who).scores

    assert np.allclose(scores[order], reordered, atol=1e-5)


def test_chunks_are_scored_once(tmp_path, pool, checkpoint, monkeypatch):
    monkeypatch.setattr(chunks, "_CHUNK", 4)
    who = scorer(checkpoint=str(checkpoint))
    first = scores_of(pool, tmp_path, who)

    (tmp_path / "0.tar").unlink()  # whoever reads an image again fails
    again = scores_of(pool, tmp_path, who)

    np.testing.assert_array_equal(first.scores, again.scores)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2


def test_another_scorer_scores_anew(tmp_path, pool, checkpoint, resnet):
    first = scores_of(pool, tmp_path, scorer(checkpoint=str(checkpoint)))
    with torch.no_grad():
        for weights in resnet.text_tower.projection.parameters():
            weights.copy_(torch.randn(weights.shape, generator=torch.manual_seed(1)))
    save_model(resnet, model_config(NAME), checkpoint)

    other = scores_of(pool, tmp_path, scorer(checkpoint=str(checkpoint)))

    assert first.scorer_digest != other.scorer_digest
    assert np.abs(first.scores - other.scores).max() > 1e-3


def test_towers_by_name_score_as_their_checkpoint_does(tmp_path, pool, checkpoint, resnet):
    import open_clip

    from vl_pipeline.models.towers import CONFIG_FOLDER

    open_clip.add_model_config(CONFIG_FOLDER)
    model = open_clip.create_model(NAME, force_custom_text=True)
    weights = tmp_path / "weights.pt"
    torch.save(model.state_dict(), weights)
    who = scorer(name=NAME, pretrained=str(weights))
    built, _ = who.build(CPU)
    save_model(built, model_config(NAME), checkpoint)

    by_name = scores_of(pool, tmp_path, who, cache=tmp_path / "one")
    by_checkpoint = scores_of(
        pool, tmp_path, scorer(checkpoint=str(checkpoint)), cache=tmp_path / "two"
    )

    np.testing.assert_allclose(by_name.scores, by_checkpoint.scores, atol=1e-5)


def test_a_scorer_that_gives_no_numbers_is_refused(tmp_path, pool, checkpoint, resnet):
    with torch.no_grad():
        next(resnet.text_tower.projection.parameters()).fill_(float("nan"))
    save_model(resnet, model_config(NAME), checkpoint)

    with pytest.raises(CurationError, match="not numbers"):
        scores_of(pool, tmp_path, scorer(checkpoint=str(checkpoint)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": NAME},
        {"pretrained": "openai"},
        {"checkpoint": "c", "name": NAME},
        {"checkpoint": "c", "name": NAME, "pretrained": "openai"},
    ],
)
def test_a_scorer_is_either_a_checkpoint_or_towers_with_weights(fields):
    with pytest.raises(ValidationError, match="set either checkpoint, or name and pretrained"):
        scorer(**fields)


def test_a_missing_checkpoint_is_an_error_that_says_what_to_set(tmp_path, pool):
    who = scorer(checkpoint=str(tmp_path / "none"))

    for ask in (who.require_checkpoint, lambda: scores_of(pool, tmp_path, who)):
        with pytest.raises(ParameterError, match=r"none', which holds no checkpoint; train one"):
            ask()


def test_scores_are_read_as_they_were_written_and_for_their_pool_alone(tmp_path):
    pool = pool_table(3)
    scores = PairScores(scores=np.array([0.25, -1, 0.1], dtype=np.float32), scorer_digest="d")

    fill_pair_scores(tmp_path, scores, pool=pool)

    read = read_pair_scores(tmp_path, pool=pool)
    np.testing.assert_array_equal(scores.scores[[2, 0]], read.of(np.array([2, 0])))
    assert dataclasses.astuple(read)[1] == "d"
    assert json.loads((tmp_path / "about.json").read_text())["scorer_digest"] == "d"
    with pytest.raises(PoolError, match=r"pair scores of another pool; .* from score again"):
        read_pair_scores(tmp_path, pool=pool.take([1, 0, 2]))
