from dataclasses import asdict, replace

import pytest

from tests.evaluation.test_validation import write_task
from tests.trainings import CPU, config_with_weights, recipe_of, training_data, write_image_weights
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.errors import ShardError
from vl_pipeline.evaluation.run import Evaluation
from vl_pipeline.sweep.plan import Cell
from vl_pipeline.sweep.run import Bench, key_of, run_cells


@pytest.fixture
def config(tmp_path):
    write_image_weights(tmp_path / "image.safetensors", seed=1)
    return config_with_weights(tmp_path / "image.safetensors")


@pytest.fixture
def bench(tmp_path, config) -> Bench:
    write_task(tmp_path / "animals", labels_by_split={"val": [0, 1], "test": [2, 2]})
    return Bench(
        data=training_data(tmp_path, config),
        tasks=Tasks(folder=str(tmp_path), curate_for=["animals"], evaluate_on=["animals"]),
        evaluation=Evaluation(split="test", batch_size=4, num_threads=1),
        device=CPU,
    )


def cell(config, **settings) -> Cell:
    recipe = recipe_of(config, **settings)
    blocks = {"training": asdict(recipe.training)}
    return Cell(strategy="all", value=None, seed=0, recipe=recipe, blocks=blocks)


def test_a_file_of_weights_that_was_replaced_makes_another_cell(tmp_path, config, bench):
    before = key_of(cell(config), bench)
    assert before == key_of(cell(config), bench)

    write_image_weights(tmp_path / "image.safetensors", seed=2)

    assert before != key_of(cell(config), bench)


def test_a_cell_that_was_cut_short_is_not_gone_on_with_under_other_tasks(tmp_path, config, bench):
    write_task(tmp_path / "plants", labels_by_split={"val": [0, 1], "test": [2, 2]})
    (tmp_path / "animals/test/0.tar").unlink()
    with pytest.raises(ShardError):  # after training, which is finished
        run_cells([cell(config)], bench, scratch=tmp_path / "scratch")

    others = replace(bench, tasks=replace(bench.tasks, evaluate_on=("plants",)))
    (result,) = run_cells([cell(config)], others, scratch=tmp_path / "scratch")

    assert all("plants_zero_shot_top1" in record for record in result["validation"])


def test_a_cell_that_diverges_is_reported_and_the_others_run(tmp_path, config, bench):
    cells = [cell(config, learning_rate=1e30, warmup_steps=0), cell(config)]

    diverged, trained = run_cells(cells, bench, scratch=tmp_path / "scratch")

    assert "the loss is nan" in diverged["error"]
    assert trained["training"]["num_steps"] == 3
    assert diverged == run_cells(cells, bench, scratch=tmp_path / "scratch")[0]


@pytest.mark.parametrize("cost", [{"num_threads": 7}, {"checkpoint_every": 9}])
def test_numbers_that_only_cost_time_make_no_other_cell(config, bench, cost):
    assert key_of(cell(config), bench) == key_of(cell(config, **cost), bench)


def test_threads_that_evaluate_make_no_other_cell_and_another_split_does(config, bench):
    threads = replace(bench, evaluation=replace(bench.evaluation, num_threads=7))
    split = replace(bench, evaluation=replace(bench.evaluation, split="val"))

    assert key_of(cell(config), bench) == key_of(cell(config), threads)
    assert key_of(cell(config), bench) != key_of(cell(config), split)
    assert key_of(cell(config), bench) != key_of(cell(config, log_every=2), bench)
