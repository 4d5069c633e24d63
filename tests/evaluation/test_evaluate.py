import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes import model_config, write_tar
from vl_pipeline.data.tasks import ClassificationTask, RetrievalTask, Tasks
from vl_pipeline.evaluation.evaluate import evaluate_task
from vl_pipeline.evaluation.nearest_neighbours import NearestNeighbours
from vl_pipeline.evaluation.run import Evaluation, evaluate_checkpoint
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.models.weights import save_model

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


def test_images_of_another_split_vote_where_that_is_asked_for(model):
    knn = NearestNeighbours(labelled_split="val", num_voters=1, temperature=None)
    settings = {
        "model": model,
        "tokenizer": build_tokenizer(model_config(NAME)),
        "device": torch.device("cpu"),
        "batch_size": 2,
        "num_threads": 1,
    }

    itself = evaluate_task(classification(), labelled=classification(), knn=knn, **settings)

    plain = evaluate(classification(), model).metrics
    assert itself.metrics["knn_top1"] == 1  # each image is its own nearest
    assert {name: itself.metrics[name] for name in plain} == plain
    assert not any("knn" in name for name in plain)


def test_a_checkpoint_is_measured_by_neighbours_on_classification_alone(model, tmp_path):
    tasks = Tasks(folder=str(tmp_path / "tasks"), curate_for=("c",), evaluate_on=("c", "r"))
    for split in ("val", "test"):
        members = [[(f"{i}.png", png(i)), (f"{i}.cls", b"0" if i % 2 else b"1")] for i in range(4)]
        write_tar(tmp_path / "tasks/c" / split / "0.tar", *members)
    write_tar(tmp_path / "tasks/r/test/0.tar", [("0.png", png(0)), ("0.txt", b"a cat")])
    (tmp_path / "tasks/c/classnames.txt").write_text("red\nblue\n")
    (tmp_path / "tasks/c/zeroshot_classification_templates.txt").write_text("{c}\n")
    (tmp_path / "tasks/r/dataset_type.txt").write_text("retrieval\n")
    save_model(model, model_config(NAME), tmp_path)
    knn = NearestNeighbours(labelled_split="val", num_voters=1, temperature=None)
    evaluation = Evaluation(split="test", batch_size=4, num_threads=1, knn=knn)

    by_class, by_caption = evaluate_checkpoint(
        tmp_path, tasks, evaluation, device=torch.device("cpu")
    )

    assert by_class.metrics["knn_top1"] == by_class.metrics["knn_recall_at_1"] == 1
    assert "knn_top1" not in by_caption.metrics


def test_the_evaluated_split_does_not_vote_on_itself():
    knn = NearestNeighbours(labelled_split="test", num_voters=1, temperature=None)

    with pytest.raises(ValueError, match="each image would find itself"):
        Evaluation(split="test", batch_size=4, num_threads=1, knn=knn)
