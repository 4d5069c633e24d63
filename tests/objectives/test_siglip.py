import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import SigLipLoss

from tests.fakes import objective_of, unit
from tests.reference import siglip as reference
from vl_pipeline.objectives.objective import Step
from vl_pipeline.objectives.siglip import SigLip, sigmoid_loss


def noise(seed: int, n: int = 5, d: int = 4) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=draw), dim=-1)


def step_of(images: torch.Tensor, texts: torch.Tensor, temperature: torch.Tensor) -> Step:
    return Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=temperature,
    )


@pytest.mark.parametrize("n", [1, 2, 7])
def test_logits_of_zero_cost_n_log_2(n):
    images, texts = torch.eye(2)[[0] * n], torch.eye(2)[[1] * n]  # every similarity is 0

    loss = sigmoid_loss(images, texts, temperature=0.1, bias=0.0)

    assert n * math.log(2) == pytest.approx(loss.item(), rel=1e-6)


def test_two_pairs_cost_what_the_formula_says():
    pairs = torch.from_numpy(unit([1, 0], [0, 1]))

    loss = sigmoid_loss(pairs, pairs, temperature=0.5, bias=-1.0)

    # of each image: the own text at 2 - 1 = 1, the other at 0 - 1 = -1, both right by 1
    assert 2 * math.log(1 + math.exp(-1)) == pytest.approx(loss.item(), rel=1e-6)


def test_perfect_batch_costs_less_than_a_hundredth():
    pairs = torch.eye(32)

    # own logit 100 - 50, others -50
    assert sigmoid_loss(pairs, pairs, temperature=0.01, bias=-50.0).item() < 0.01


def test_a_wrong_answer_that_is_far_off_stays_finite():
    pairs = torch.eye(4)

    loss = sigmoid_loss(pairs, -pairs, temperature=0.001, bias=0.0)  # own logits -1000

    assert 1000 + 3 * math.log(2) == pytest.approx(loss.item(), rel=1e-6)


@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([0.1, 0.3, 1.0]),
    st.sampled_from([-10.0, 0.0, 2.0]),
)
def test_equals_the_papers_formula(seed, n, temperature, bias):
    images, texts = noise(seed, n), noise(seed + 1, n)

    loss = sigmoid_loss(images, texts, temperature=temperature, bias=bias)

    expected = reference.sigmoid_loss(images.tolist(), texts.tolist(), t=1 / temperature, b=bias)
    assert expected == pytest.approx(loss.item(), rel=1e-4, abs=1e-5)


def test_loss_is_open_clips():
    images, texts = noise(0), noise(1)

    theirs = SigLipLoss()(images, texts, 1 / 0.1, -3.0)

    ours = sigmoid_loss(images, texts, temperature=0.1, bias=-3.0)
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-5)


def test_gradient_is_the_slope():
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (0.3, -2.0)]
    inputs = [x.requires_grad_() for x in (noise(0).double(), noise(1).double(), *scalars)]

    assert torch.autograd.gradcheck(
        lambda i, x, t, b: sigmoid_loss(i, x, temperature=t, bias=b), inputs
    )


@given(st.permutations(range(6)), st.integers(0, 10**6))
def test_order_of_pairs_and_modalities_do_not_matter(order, seed):
    images, texts = noise(seed, 6), noise(seed + 1, 6)

    other = sigmoid_loss(texts[list(order)], images[list(order)], temperature=0.1, bias=-1.0)

    loss = sigmoid_loss(images, texts, temperature=0.1, bias=-1.0)
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)


def test_the_bias_starts_at_the_papers_and_is_trained_with_the_temperature():
    objective = objective_of("siglip")
    log_temperature = torch.tensor(math.log(0.1), requires_grad=True)

    objective(step_of(3 * noise(0), 5 * noise(1), log_temperature.exp()))[0].backward()

    ((name, bias),) = objective.heads.named_parameters()
    assert name == "siglip.bias"
    assert bias.item() == -10.0
    assert bias.grad is not None
    assert bias.grad.item() < 0  # nearly every pair is answered no: the bias rises at first
    assert log_temperature.grad is not None
    assert log_temperature.grad.item() != 0


def test_length_of_an_embedding_does_not_matter():
    temperature = torch.tensor(0.1)

    one, other = (
        SigLip()(step_of(scale * noise(0), noise(1) / scale, temperature)) for scale in (1, 7)
    )

    assert one.item() == pytest.approx(other.item(), rel=1e-5)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"images \(2, 2\) and texts \(3, 3\) differ"):
        sigmoid_loss(torch.eye(2), torch.eye(3), temperature=1.0, bias=0.0)
