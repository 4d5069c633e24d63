import dataclasses
from typing import cast

import pytest
import torch
import torch.nn.functional as F

from tests.reference import contrastive as reference
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.contrastive import Symmetric
from vl_pipeline.objectives.objective import Needs, Objective, Step
from vl_pipeline.objectives.summed_contrastive import SummedContrastive

ALIGN = SummedContrastive(label_smoothing=0.1, alpha=1.0, beta=0.0, mask_repeated_captions=False)
CAPTIONS = [0, 1, 0, 2, 1, 3]


def objective(**settings) -> Objective:
    model = cast(DualEncoder, None)  # the objective has no weights of its own
    return dataclasses.replace(ALIGN, **settings).build(model, seed=0)


def step_of(images: torch.Tensor, texts: torch.Tensor, temperature: float = 0.2) -> Step:
    return Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=torch.tensor(temperature),
        captions=torch.tensor(CAPTIONS[: len(texts)]),
    )


def noise(seed: int, n: int = 6) -> torch.Tensor:
    return 3 * torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


IMAGES, TEXTS = noise(0), noise(1)


def test_align_is_the_sum_of_both_directions_with_smoothed_labels() -> None:
    total, _ = objective()(step_of(IMAGES, TEXTS))

    images, texts = (F.normalize(v, dim=-1).tolist() for v in (IMAGES, TEXTS))
    settings = {"temperature": 0.2, "label_smoothing": 0.1}
    both = (
        reference.info_nce(images, texts, **settings),
        reference.info_nce(texts, images, **settings),
    )
    assert total.item() == pytest.approx(sum(both), rel=1e-5)


def test_without_smoothing_it_is_twice_clips_loss() -> None:
    step = step_of(IMAGES, TEXTS)

    total, _ = objective(label_smoothing=0.0)(step)

    assert total.item() == pytest.approx(2 * Symmetric()(step).item(), rel=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta": 0.5, "alpha": 0.9}, {"mask_repeated_captions": True}],
    ids=["align", "hard_negatives", "masked"],
)
def test_swapping_modalities_leaves_the_loss_unchanged(settings: dict) -> None:
    asked = objective(**settings)

    there, back = (asked(step_of(*pair))[0] for pair in ((IMAGES, TEXTS), (TEXTS, IMAGES)))

    assert there.item() == pytest.approx(back.item(), rel=1e-6)


def test_the_options_are_those_of_the_kernel() -> None:
    total, _ = objective(alpha=0.5, beta=0.7, mask_repeated_captions=True)(step_of(IMAGES, TEXTS))

    images, texts = (F.normalize(v, dim=-1).tolist() for v in (IMAGES, TEXTS))
    settings = {"temperature": 0.2, "label_smoothing": 0.1, "alpha": 0.5, "beta": 0.7}
    both = [
        reference.hard_negative_nce(*pair, captions=CAPTIONS, **settings)
        for pair in ((images, texts), (texts, images))
    ]
    assert total.item() == pytest.approx(sum(both), rel=1e-5)


def test_the_report_says_how_far_the_loss_is_above_what_smoothing_leaves() -> None:
    _, report = objective()(step_of(IMAGES, TEXTS))
    perfect = step_of(torch.eye(6), torch.eye(6), temperature=1 / 4.02535)  # log(6 * .9 / .1 + 1)
    _, reached = objective()(perfect)

    assert set(report) == {"loss_contrastive", "loss_contrastive_above_floor", "loss_total"}
    assert 0.1 < report["loss_contrastive_above_floor"] < report["loss_contrastive"]
    assert reached["loss_contrastive_above_floor"].item() == pytest.approx(0, abs=1e-4)
    assert reached["loss_contrastive"].item() > 0.5


def test_a_masked_batch_has_a_floor_of_its_own_and_stays_above_it() -> None:
    _, report = objective(mask_repeated_captions=True)(step_of(IMAGES, TEXTS))

    floor = report["loss_contrastive"] - report["loss_contrastive_above_floor"]
    whole = objective()(step_of(IMAGES, TEXTS))[1]
    assert 0 < floor < whole["loss_contrastive"] - whole["loss_contrastive_above_floor"]
    assert report["loss_contrastive_above_floor"] > 0


def test_captions_are_asked_for_only_where_they_are_masked() -> None:
    assert objective().needs == Needs()
    assert objective(mask_repeated_captions=True).needs == Needs(captions=True)
    assert Needs(captions=True).union(Needs(image_views=2)) == Needs(image_views=2, captions=True)


def test_gradient_reaches_the_logarithm_of_the_temperature() -> None:
    log_temperature = torch.zeros((), requires_grad=True)  # the temperature starts at 1
    step = dataclasses.replace(step_of(IMAGES, TEXTS), temperature=log_temperature.exp())

    objective()(step)[0].backward()

    assert log_temperature.grad is not None
    assert log_temperature.grad.abs() > 0
