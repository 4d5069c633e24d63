import numpy as np
import pytest
import torch

from tests.fakes import distinct_picture, model_config, write_tar
from vl_pipeline.data.tasks import Tasks, read_task
from vl_pipeline.evaluation.evaluate import evaluate_task
from vl_pipeline.evaluation.validation import validation_of
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.towers import build_tokenizer

NAME = "resnet-tiny-64"
CPU = torch.device("cpu")
WORK = {"device": CPU, "batch_size": 2, "num_threads": 1}


def write_task(folder, *, labels_by_split: dict[str, list[int]]):
    """Write a task of three classes; each split has pictures of its own."""
    folder.mkdir()
    (folder / "classnames.txt").write_text("cat\ndog\nowl\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    for number, (split, labels) in enumerate(labels_by_split.items()):
        (folder / split).mkdir()
        samples = [
            [(f"{i}.jpg", distinct_picture(100 * number + i)), (f"{i}.cls", str(label).encode())]
            for i, label in enumerate(labels)
        ]
        write_tar(folder / split / "0.tar", *samples)
    return folder


def validation(folder, *names):
    tasks = Tasks(folder=str(folder), curate_for=names, evaluate_on=names)
    return validation_of(tasks, tokenizer=build_tokenizer(model_config(NAME)), **WORK)


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    return DualEncoder(model_config(NAME), seed=0)


def test_accuracy_is_that_of_the_val_split_by_task(tmp_path, model):
    labels = {"val": [0, 1, 2, 1, 1], "test": [2, 2]}
    task = write_task(tmp_path / "animals", labels_by_split=labels)
    val = read_task(task, split="val")

    measured = validation(tmp_path, "animals")(model)

    expected = evaluate_task(
        val, model=model, tokenizer=build_tokenizer(model_config(NAME)), **WORK
    ).metrics
    assert set(measured) == {
        f"animals_{n}" for n in ("zero_shot_top1", "zero_shot_top5", "mean_per_class_recall")
    }
    assert measured["animals_zero_shot_top1"] == pytest.approx(expected["zero_shot_top1"])


def test_the_test_split_is_not_read(tmp_path, model):
    task = write_task(tmp_path / "animals", labels_by_split={"val": [0, 1], "test": [2, 2]})
    before = validation(tmp_path, "animals")(model)
    (task / "test/0.tar").write_bytes(b"no tar")

    assert validation(tmp_path, "animals")(model) == before


def test_a_task_without_a_val_split_is_left_out(tmp_path, model):
    write_task(tmp_path / "animals", labels_by_split={"val": [0, 1]})
    write_task(tmp_path / "plants", labels_by_split={"test": [0, 1]})

    measured = validation(tmp_path, "animals", "plants")(model)

    assert all(name.startswith("animals_") for name in measured)
    assert np.isfinite(list(measured.values())).all()


def test_without_any_val_split_there_is_nothing_to_validate_with(tmp_path):
    write_task(tmp_path / "plants", labels_by_split={"test": [0, 1]})

    assert validation(tmp_path, "plants") is None
