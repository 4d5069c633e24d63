import math

import open_clip
import pytest
import torch
from pydantic import ValidationError

from tests.fakes import objective_of
from tests.reference import contrastive as reference
from vl_pipeline.objectives.contrastive import Contrastive, ImageToText, Symmetric
from vl_pipeline.objectives.diversity import Diversity, covariance, uniformity
from vl_pipeline.objectives.objective import Step
from vl_pipeline.objectives.siglip import SigLip


def step_of(images: torch.Tensor, texts: torch.Tensor, *, temperature: float = 0.1) -> Step:
    return Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=torch.tensor(temperature),
    )


def noise(seed: int, n: int = 6, d: int = 5) -> torch.Tensor:
    return 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("term", [ImageToText(), Symmetric()])
def test_uninformative_embeddings_cost_log_n(term):
    alike = torch.ones(8, 3)

    assert math.log(8) == pytest.approx(term(step_of(alike, alike)).item(), abs=1e-5)


@pytest.mark.parametrize("term", [ImageToText(), Symmetric()])
def test_perfect_batch_costs_less_than_a_hundredth(term):
    # a softmax before the cross entropy could not get below log(1 + 31 / e) = 2.5
    pairs = 7 * torch.eye(32)

    assert term(step_of(pairs, pairs, temperature=0.01)).item() < 0.01


@pytest.mark.parametrize("term", [ImageToText(), Symmetric()])
def test_length_of_an_embedding_does_not_matter(term):
    images, texts = noise(0), noise(1)
    lengths = torch.tensor([0.1, 1, 2, 3, 4, 5])[:, None]

    longer = term(step_of(images * lengths, texts / lengths))

    assert term(step_of(images, texts)).item() == pytest.approx(longer.item(), rel=1e-5)


@pytest.mark.parametrize("term", [ImageToText(), Symmetric()])
def test_order_of_pairs_does_not_matter(term):
    images, texts = noise(0), noise(1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])

    shuffled = term(step_of(images[order], texts[order]))

    assert term(step_of(images, texts)).item() == pytest.approx(shuffled.item(), rel=1e-5)


def test_swapping_modalities_leaves_the_symmetric_loss_unchanged():
    images, texts = noise(0), noise(1)

    swapped = Symmetric()(step_of(texts, images))

    assert Symmetric()(step_of(images, texts)).item() == pytest.approx(swapped.item(), rel=1e-6)


def test_swapping_modalities_changes_the_loss_in_one_direction():
    images, texts = noise(0), noise(1)

    difference = ImageToText()(step_of(images, texts)) - ImageToText()(step_of(texts, images))

    assert abs(difference.item()) > 0.01


def test_image_to_text_is_a_choice_among_texts():
    images, texts = noise(0), noise(1)
    unit_images, unit_texts = (torch.nn.functional.normalize(x, dim=-1) for x in (images, texts))

    loss = ImageToText()(step_of(images, texts))

    expected = reference.info_nce(unit_images.tolist(), unit_texts.tolist(), temperature=0.1)
    assert expected == pytest.approx(loss.item(), rel=1e-5)


def test_symmetric_loss_and_its_gradients_are_open_clips():
    images, texts = noise(0).requires_grad_(), noise(1).requires_grad_()
    temperature = torch.tensor(0.1, requires_grad=True)
    step = Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=temperature,
    )
    inputs = (images, texts, temperature)

    ours = Symmetric()(step)
    theirs = open_clip.ClipLoss()(
        torch.nn.functional.normalize(images, dim=-1),
        torch.nn.functional.normalize(texts, dim=-1),
        1 / temperature,
    )

    assert theirs.item() == pytest.approx(ours.item(), rel=1e-6)
    for expected, found in zip(
        torch.autograd.grad(theirs, inputs), torch.autograd.grad(ours, inputs), strict=True
    ):
        assert torch.allclose(expected, found, rtol=1e-4, atol=1e-6)


def test_gradient_reaches_images_texts_and_temperature():
    inputs = [noise(0, 4, 3).double(), noise(1, 4, 3).double()]
    images, texts = (tensor.requires_grad_() for tensor in inputs)
    temperature = torch.tensor(0.5, requires_grad=True)

    Symmetric()(
        Step(
            image_embeddings=images[None],
            text_embeddings=texts,
            temperature=temperature,
        )
    ).backward()

    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in (images, texts, temperature))


def test_embeddings_of_half_precision_are_compared_in_full():
    images, texts = noise(0), noise(1)

    loss = Symmetric()(step_of(images.bfloat16(), texts.bfloat16(), temperature=0.01))

    assert torch.float32 == loss.dtype


@pytest.mark.parametrize(
    ("loss", "name", "term"),
    [
        ("image_to_text", "image_to_text", ImageToText),
        ("symmetric", "contrastive", Symmetric),
        ("siglip", "siglip", SigLip),
    ],
)
def test_the_loss_names_the_one_term(loss, name, term):
    step = step_of(noise(0), noise(1))
    objective = objective_of(loss)

    total, report = objective(step)

    assert total.item() == term()(step).item()
    assert {f"loss_{name}", "loss_total"} == set(report)
    assert total.item() == report[f"loss_{name}"].item() == report["loss_total"].item()
    assert objective.needs.image_views == 1


def test_diversity_is_added_by_its_weights():
    step = step_of(noise(0), noise(1))

    total, report = objective_of("symmetric", uniformity_weight=0.5, covariance_weight=2.0)(step)

    parts = [term(step).item() for term in (Symmetric(), Diversity(uniformity))]
    parts.append(Diversity(covariance)(step).item())
    assert parts[0] + 0.5 * parts[1] + 2.0 * parts[2] == pytest.approx(total.item(), rel=1e-6)
    assert report["loss_uniformity"].item() == parts[1]
    assert report["loss_covariance"].item() == parts[2]


@pytest.mark.parametrize("wrong", [{"loss": "sigmoid"}, {}, {"loss": "siglip", "bias": 1}])
def test_a_loss_that_does_not_exist_is_refused(wrong):
    with pytest.raises(ValidationError):
        Contrastive(**wrong)
