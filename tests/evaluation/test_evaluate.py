import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes import model_config
from vl_pipeline.data.tasks import ClassificationTask, RetrievalTask
from vl_pipeline.evaluation.evaluate import evaluate_task
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.towers import build_tokenizer

NAME = "resnet-tiny-64"


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (70, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def classification():
    return ClassificationTask(
        name="colours",
        images=[png(i) for i in range(5)],
        labels=np.array([0, 1, 2, 2, 1]),
        class_names=["red", "green", "dark blue"],
        templates=["a {c} thing.", "{c}"],
    )


def retrieval():
    return RetrievalTask(
        name="pairs", images=[png(i) for i in range(3)], captions=[["a cat"], ["b", "c"], ["d"]]
    )


def evaluate(task, model, *, batch_size=2):
    return evaluate_task(
        task,
        model=model,
        tokenizer=build_tokenizer(model_config(NAME)),
        device=torch.device("cpu"),
        batch_size=batch_size,
        num_threads=1,
    )


@pytest.fixture(scope="module")
def model():
    return DualEncoder(model_config(NAME), seed=0)


def test_classification_has_metrics_a_table_and_a_confusion(model):
    result = evaluate(classification(), model)

    assert result.metrics["num_images"] == result.confusion.sum() == 5
    assert result.metrics["zero_shot_top1"] == result.confusion.trace() / 5
    assert result.per_class["num_images"].to_pylist() == [1, 2, 2]


def test_retrieval_has_metrics_alone(model):
    result = evaluate(retrieval(), model)

    assert (result.metrics["num_images"], result.metrics["num_captions"]) == (3, 4)
    assert result.confusion is None


@pytest.mark.parametrize("task", [classification(), retrieval()], ids=["classify", "retrieve"])
def test_the_size_of_a_batch_does_not_change_metrics(model, task):
    assert evaluate(task, model, batch_size=1).metrics == evaluate(task, model).metrics


@pytest.mark.parametrize("task", [classification(), retrieval()], ids=["classify", "retrieve"])
@pytest.mark.parametrize("tower", ["image_tower", "text_tower"])
def test_a_damaged_tower_is_an_error_and_not_a_score(model, task, tower):
    parameter = next(getattr(model, tower).parameters())
    before = parameter.data.clone()
    parameter.data.fill_(torch.nan)

    try:
        with pytest.raises(ValueError, match="not finite"):
            evaluate(task, model)
    finally:
        parameter.data.copy_(before)
