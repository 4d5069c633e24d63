import dataclasses
import math

import pytest
import torch

from tests.fakes import build_model, fake_tokens, model_config, pixels_of
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights, unit


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def train_a_few_steps(model) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    tokens = torch.from_numpy(fake_tokens(4).padded(torch.arange(4).numpy()))
    pixels = pixels_of(4, side_px=model.image_size_px)
    model.train()
    for _ in range(3):
        images = unit(model.image_tower.projection(model.image_features(pixels)))
        texts = unit(model.text_tower.projection(model.text_features(tokens)))
        loss = -(images * texts).sum() / model.temperature
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_weights_depend_on_the_seed_and_not_on_the_random_state(fake_vit_name):
    torch.manual_seed(1)
    first = build_model(fake_vit_name, seed=3)
    torch.manual_seed(2)
    again, other = build_model(fake_vit_name, seed=3), build_model(fake_vit_name, seed=4)

    assert same(first.state_dict(), again.state_dict())
    assert not same(first.state_dict(), other.state_dict())


def test_building_leaves_the_random_state_as_it_was(fake_vit_name):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)

    build_model(fake_vit_name)

    assert torch.equal(expected, torch.rand(3))


def test_temperature_starts_where_asked_and_is_clamped_from_below(fake_vit_name):
    model = build_model(fake_vit_name, min_temperature=0.02)
    assert pytest.approx(model.temperature.item()) == 0.07

    with torch.no_grad():
        model.log_temperature.fill_(math.log(0.001))
    model.clamp_temperature()
    assert pytest.approx(model.temperature.item()) == 0.02

    with torch.no_grad():
        model.log_temperature.fill_(math.log(3.0))
    model.clamp_temperature()
    assert pytest.approx(model.temperature.item()) == 3.0


def test_frozen_trunk_does_not_move_in_training_and_the_rest_does(resnet):
    resnet.freeze(["image_tower.trunk"])
    trunk, before = resnet.image_tower.trunk, state_of(resnet)

    train_a_few_steps(resnet)

    after = resnet.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("running_mean" in name for name in trunk.state_dict())
    assert not any(name.startswith("image_tower.trunk.") for name in moved)
    assert "image_tower.projection.proj.weight" in moved
    assert "log_temperature" in moved


def test_trunk_that_is_not_frozen_moves_with_its_batch_statistics(resnet):
    before = state_of(resnet.image_tower.trunk)

    train_a_few_steps(resnet)

    after = resnet.image_tower.trunk.state_dict()
    assert not torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert not torch.equal(before["conv1.0.weight"], after["conv1.0.weight"])


def test_frozen_part_of_a_trunk_keeps_its_batch_statistics(resnet):
    resnet.freeze(["image_tower.trunk.layer1"])
    before = state_of(resnet.image_tower.trunk.layer1)

    train_a_few_steps(resnet)

    assert same(before, resnet.image_tower.trunk.layer1.state_dict())


def test_frozen_trunk_stays_in_evaluation_mode_through_a_look_at_the_data(resnet):
    resnet.train()
    resnet.freeze(["image_tower.trunk"])
    assert not resnet.image_tower.trunk.training

    resnet.eval()
    resnet.train()

    assert not resnet.image_tower.trunk.training
    assert resnet.text_tower.trunk.training


@pytest.mark.parametrize("part", ["image_tower.trunk.layer9", "log_temperature", "visual"])
def test_part_that_the_model_has_not_is_named(resnet, part):
    with pytest.raises(ParameterError, match=f"no part '{part}' to freeze"):
        resnet.freeze([part])


def test_unit_makes_length_one_in_float32():
    vectors = unit(torch.tensor([[3.0, 4.0], [0.0, -2.0]], dtype=torch.bfloat16))

    assert [pytest.approx(row) for row in vectors.tolist()] == [[0.6, 0.8], [0.0, -1.0]]
    assert torch.float32 == vectors.dtype


def test_unit_of_a_zero_vector_is_finite():
    assert torch.isfinite(unit(torch.zeros(1, 3))).all()


def test_equal_weights_have_one_digest_and_a_changed_one_another(resnet):
    before = digest_of_weights(resnet)
    assert before == digest_of_weights(resnet)

    with torch.no_grad():
        resnet.image_tower.trunk.bn1.running_mean[0] += 1e-6

    assert before != digest_of_weights(resnet)


def test_temperature_is_part_of_the_digest(fake_vit):
    before = digest_of_weights(fake_vit)

    with torch.no_grad():
        fake_vit.log_temperature += 0.1

    assert before != digest_of_weights(fake_vit)


def test_a_fixed_temperature_is_neither_trained_nor_clamped(fake_vit_name):
    config = dataclasses.replace(
        model_config(fake_vit_name, min_temperature=0.1), learn_temperature=False
    )
    model = DualEncoder(config, seed=0)

    model.clamp_temperature()

    assert not model.log_temperature.requires_grad
    assert pytest.approx(model.temperature.item()) == 0.07
