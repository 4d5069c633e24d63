import pytest

from tests.evaluation.test_validation import write_task
from tests.trainings import CPU, config_with_weights, recipe_of, training_data, write_image_weights
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.training.run import train_recipe
from vl_pipeline.training.validated import digests_of_validated


@pytest.fixture
def config(tmp_path):
    write_image_weights(tmp_path / "image.safetensors", seed=1)
    return config_with_weights(tmp_path / "image.safetensors")


def test_a_file_of_weights_that_was_replaced_is_trained_from(tmp_path, config):
    data, recipe = training_data(tmp_path, config), recipe_of(config)
    before = train_recipe(data, recipe, device=CPU, scratch=tmp_path / "scratch")
    write_image_weights(tmp_path / "image.safetensors", seed=2)

    after = train_recipe(data, recipe, device=CPU, scratch=tmp_path / "scratch")

    replaced = digest_of_weights(DualEncoder(config, seed=0).image_tower.trunk)
    assert replaced == digest_of_weights(after.model.image_tower.trunk)
    assert replaced != digest_of_weights(before.model.image_tower.trunk)
    assert before.scratch != after.scratch


def test_a_run_that_was_validated_on_something_else_is_another_run(tmp_path, config):
    data, recipe = training_data(tmp_path, config), recipe_of(config)
    scratch = tmp_path / "scratch"

    def names(task: str, validated: dict[str, str]) -> set[str]:
        trained = train_recipe(
            data,
            recipe,
            device=CPU,
            scratch=scratch,
            validate=lambda _: {task: 1.0},
            validated=validated,
        )
        return {name for record in trained.progress.validation for name in record}

    assert "old" in names("old", {"old": "aa"})
    assert "old" in names("not asked", {"old": "aa"})  # finished, and not validated again
    assert not {"old", "not asked"} & names("new", {"new": "bb"})
    assert not {"old", "new"} & names("newer", {"new": "cc"})


def test_what_is_validated_on_is_told_apart_by_content(tmp_path):
    animals = write_task(tmp_path / "animals", labels_by_split={"val": [0, 1], "test": [2]})
    write_task(tmp_path / "plants", labels_by_split={"test": [2]})
    names = ["animals", "plants"]
    tasks = Tasks(folder=str(tmp_path), curate_for=names, evaluate_on=names)
    before = digests_of_validated(tasks)

    (animals / "test/0.tar").unlink()
    assert before.keys() == {"animals"}
    assert before == digests_of_validated(tasks)

    (animals / "val/0.tar").write_bytes(b"other images")
    changed = digests_of_validated(tasks)
    (animals / "classnames.txt").write_text("cat\ndog\nfox\n")

    assert len({d["animals"] for d in (before, changed, digests_of_validated(tasks))}) == 3


@pytest.mark.parametrize(("changes", "is_same"), [({"seed": 1}, False), ({"num_threads": 5}, True)])
def test_a_run_with_other_numbers_has_a_folder_of_its_own(tmp_path, config, changes, is_same):
    data = training_data(tmp_path, config)
    scratch = tmp_path / "scratch"
    before = train_recipe(data, recipe_of(config), device=CPU, scratch=scratch)

    other = train_recipe(data, recipe_of(config, **changes), device=CPU, scratch=scratch)

    assert is_same == (before.scratch == other.scratch)
    assert (before.scratch / "checkpoints").is_dir()
