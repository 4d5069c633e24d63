import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tests.reference import diversity as reference
from vl_pipeline.objectives.diversity import Diversity, covariance, uniformity
from vl_pipeline.objectives.objective import Step

MEASURES = pytest.mark.parametrize("measure", [uniformity, covariance])


def noise(seed: int, n: int = 6, d: int = 4) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def step_of(images: torch.Tensor, texts: torch.Tensor) -> Step:
    return Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=torch.tensor(0.1),
    )


@MEASURES
def test_collapsed_embeddings_measure_zero(measure):
    assert measure(normalize(torch.ones(5, 3))).item() == pytest.approx(0, abs=1e-5)


def test_orthogonal_embeddings_are_at_minus_four():
    # squared distance 2 between any two, times -2
    assert uniformity(torch.eye(6)).item() == pytest.approx(-4, rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_simplex_is_as_uniform_as_it_gets(n):
    simplex = normalize(torch.eye(n) - 1 / n)

    # squared distance 2 n / (n - 1) between any two, times -2
    assert -4 * n / (n - 1) == pytest.approx(uniformity(simplex).item(), rel=1e-5)
    assert all(uniformity(normalize(noise(s, n, n))) > -4 * n / (n - 1) for s in range(5))


def test_uncorrelated_coordinates_have_no_covariance():
    both_ways = torch.cat([torch.eye(4), -torch.eye(4)])

    assert covariance(both_ways).item() == pytest.approx(0, abs=1e-6)


def test_coordinates_that_move_together_cost_what_the_formula_says():
    together = normalize(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))

    # times sqrt(2): rows (1, 1) and (-1, -1), covariance 2; 2 entries of 2^2, over d = 2
    assert covariance(together).item() == pytest.approx(4, rel=1e-6)


def test_the_mean_does_not_count_as_covariance():
    # both coordinates always 1 / sqrt(2): large products, no covariance
    assert covariance(normalize(torch.ones(9, 2))).item() == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 5))
def test_equals_the_papers_formulas(seed, n, d):
    vectors = normalize(noise(seed, n, d))

    expected = reference.uniformity(vectors.tolist(), t=2)
    assert expected == pytest.approx(uniformity(vectors).item(), rel=1e-4, abs=1e-5)
    scaled = (vectors * math.sqrt(d)).tolist()
    assert reference.covariance(scaled) == pytest.approx(
        covariance(vectors).item(), rel=1e-3, abs=1e-5
    )


@MEASURES
def test_gradient_is_the_slope(measure):
    assert torch.autograd.gradcheck(measure, normalize(noise(0).double()).requires_grad_())


@MEASURES
def test_gradient_is_finite_where_two_captions_are_equal(measure):
    vectors = normalize(torch.ones(4, 3)).requires_grad_()

    measure(vectors).backward()

    assert torch.isfinite(vectors.grad).all()


@MEASURES
def test_no_gradient_points_along_an_embedding(measure):
    images, texts = noise(0).requires_grad_(), (5 * noise(1)).requires_grad_()

    Diversity(measure)(step_of(images, texts)).backward()

    for embeddings in (images, texts):
        size = embeddings.grad.norm() * embeddings.norm(dim=-1)
        radial = (embeddings.grad * embeddings).sum(dim=-1)
        assert embeddings.grad.norm() > 1e-3
        assert (radial.abs() < 1e-5 * size).all()


def test_uniformity_spreads_embeddings_that_crowd_and_covariance_does_not():
    crowded = normalize(1 + 0.3 * noise(0, 8))

    spread, not_spread = (descended(m, crowded) for m in (uniformity, covariance))

    assert uniformity(crowded).item() > -0.3
    assert uniformity(spread).item() < -4
    assert uniformity(not_spread).item() > -0.3


def test_covariance_spreads_embeddings_over_coordinates():
    along = normalize(noise(0, 16) + 3 * noise(1, 16, 1))  # along the diagonal, both ways

    assert covariance(descended(covariance, along)).item() < 0.1 * covariance(along).item()


def descended(measure, vectors: torch.Tensor) -> torch.Tensor:
    """What 300 steps down the measure's gradient make of embeddings."""
    for _ in range(300):
        free = vectors.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(measure(normalize(free)), free)
        vectors = normalize(free - 0.05 * gradient).detach()
    return vectors


@MEASURES
def test_images_and_texts_count_alike(measure):
    images, texts = noise(0), noise(1)

    value = Diversity(measure)(step_of(images, texts))

    mean = (measure(normalize(images)) + measure(normalize(texts))) / 2
    assert mean.item() == pytest.approx(value.item(), rel=1e-6)
    assert Diversity(measure)(step_of(texts, images)).item() == pytest.approx(value.item())


@MEASURES
def test_order_of_pairs_does_not_matter(measure):
    vectors = normalize(noise(0))

    shuffled = measure(vectors[torch.tensor([3, 1, 5, 0, 2, 4])])

    assert measure(vectors).item() == pytest.approx(shuffled.item(), rel=1e-5)
