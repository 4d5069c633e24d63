import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.reference import lamb as reference
from vl_pipeline.training.optimization import Optimization, build_optimizer, learning_rate_at


def optimization(**settings) -> Optimization:
    defaults = {
        "learning_rate": 5e-4,
        "min_learning_rate": 1e-5,
        "warmup_steps": 200,
        "weight_decay": 0.2,
        "projection_weight_decay": 1.0,
        "beta1": 0.9,
        "beta2": 0.999,
    }
    return Optimization(**defaults | settings)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (100, 2.5e-4), (200, 5e-4), (2600, 2.55e-4), (5000, 1e-5), (6000, 1e-5)],
)
def test_learning_rate_is_cits(step, expected):
    # specs/cit.md section 1.4: warm-up of 200 in 5,000 steps, measured on the released code
    rate = learning_rate_at(step, optimization(), num_steps=5000)

    assert expected == pytest.approx(rate, rel=1e-9, abs=1e-15)


def test_first_step_without_warmup_has_the_highest_rate():
    assert learning_rate_at(0, optimization(warmup_steps=0), num_steps=10) == 5e-4


def test_run_that_ends_within_the_warmup_only_rises():
    rates = [learning_rate_at(step, optimization(), num_steps=10) for step in range(10)]

    assert [step * 2.5e-6 for step in range(10)] == pytest.approx(rates)


@given(st.integers(0, 50), st.integers(1, 200))
def test_rate_rises_through_the_warmup_and_falls_after_it(warmup_steps, num_steps):
    setting = optimization(warmup_steps=warmup_steps)
    rates = [learning_rate_at(step, setting, num_steps=num_steps) for step in range(num_steps)]

    rising, falling = rates[: warmup_steps + 1], rates[warmup_steps:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert all(0 <= rate <= 5e-4 for rate in rates)


def weight_decays(model: nn.Module) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: group["weight_decay"]
        for group in build_optimizer(model, optimization()).param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", ["fake_vit", "resnet"])
def test_vectors_have_no_decay_projections_their_own_and_other_matrices_the_rest(name, request):
    model = nn.ModuleDict({"model": request.getfixturevalue(name)})

    found = weight_decays(model)

    parameters = dict(model.named_parameters())
    assert set(parameters) == set(found)
    assert found["model.log_temperature"] == 0.0
    projections = {n for n in parameters if ".projection." in n and parameters[n].ndim > 1}
    assert len(projections) == 2
    assert {1.0} == {found[n] for n in projections}
    vectors = {n for n in parameters if parameters[n].ndim < 2}
    assert {0.0} == {found[n] for n in vectors}
    assert {0.2} == {found[n] for n in parameters if n not in projections | vectors}


def test_frozen_parameters_are_left_out(fake_vit):
    fake_vit.freeze(["image_tower.trunk"])

    found = weight_decays(fake_vit)

    assert not any(name.startswith("image_tower.trunk") for name in found)
    assert "image_tower.projection.weight" in found


def test_first_step_moves_against_the_gradient_and_decays():
    layer = nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    optimizer = build_optimizer(layer, optimization(learning_rate=0.01))

    layer(torch.tensor([[1.0, -2.0]])).sum().backward()
    optimizer.step()

    # AdamW: w * (1 - lr * decay) - lr * sign of the gradient, in the first step
    expected = before * (1 - 0.01 * 0.2) - 0.01 * torch.tensor([[1.0, -1.0]])
    assert torch.allclose(expected, layer.weight, atol=1e-6)


# --- LAMB


class Parts(nn.Module):
    """A matrix, a vector and a matrix whose gradient is large."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.matrix = nn.Parameter(torch.randn(3, 2, generator=draw).double())
        self.vector = nn.Parameter(torch.randn(4, generator=draw).double())
        self.steep = nn.Parameter(torch.randn(2, 2, generator=draw).double())

    def forward(self) -> torch.Tensor:
        return (self.matrix**2).sum() + self.vector.sin().sum() + 1e3 * self.steep.exp().sum()


LAMB = {"optimizer": "lamb", "learning_rate": 0.01, "weight_decay": 0.3}


@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_lamb_takes_the_steps_of_the_formula_written_out_and_clips_nothing(decay):
    modules = Parts()
    optimizer = build_optimizer(modules, optimization(**LAMB | {"weight_decay": decay}))
    expected = {
        name: reference.Lamb(p.flatten().tolist()) for name, p in modules.named_parameters()
    }

    for _ in range(3):
        optimizer.zero_grad()
        modules().backward()
        for name, parameter in modules.named_parameters():
            is_vector = parameter.ndim < 2
            expected[name].step(
                parameter.grad.flatten().tolist(),
                learning_rate=0.01,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0 if is_vector else decay,
                is_rescaled=not is_vector,
            )
        optimizer.step()

    for name, parameter in modules.named_parameters():
        assert parameter.flatten().tolist() == pytest.approx(expected[name].weights, rel=1e-9)


def test_linear_decay_falls_by_the_same_amount_each_step():
    setting = optimization(warmup_steps=2, decay="linear", learning_rate=1.0, min_learning_rate=0.0)

    rates = [learning_rate_at(step, setting, num_steps=6) for step in range(8)]

    assert rates == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0])
