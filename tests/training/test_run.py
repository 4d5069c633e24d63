import pytest

from tests.trainings import CPU, config_with_weights, recipe_of, training_data, write_image_weights
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.training.run import train_recipe


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
