import itertools
import math

import pytest
import torch

from tests.reference import contrastive as reference
from vl_pipeline.objectives.hard_negatives import hard_negative_nce, lowest_smoothed_loss
from vl_pipeline.objectives.info_nce import info_nce


def vectors(seed: int, n: int = 5, d: int = 4) -> torch.Tensor:
    noise = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()
    return torch.nn.functional.normalize(noise, dim=-1)


QUERIES, KEYS = vectors(0), vectors(1)
CAPTIONS = [0, 1, 0, 2, 1]
REPEATED = torch.tensor([[a == b for b in CAPTIONS] for a in CAPTIONS])


def loss_of(queries=QUERIES, keys=KEYS, ignore=None, **settings) -> torch.Tensor:
    defaults = {"temperature": 0.3, "label_smoothing": 0.0, "alpha": 1.0, "beta": 0.0}
    return hard_negative_nce(queries, keys, ignore=ignore, **defaults | settings)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_alpha_one_and_beta_zero_are_info_nce(smoothing: float) -> None:
    plain = info_nce(QUERIES, KEYS, temperature=0.3, label_smoothing=smoothing)

    assert loss_of(label_smoothing=smoothing).item() == pytest.approx(plain.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "smoothing", "captions"),
    list(itertools.product([1.0, 0.2], [0.0, 0.5, 2.0], [0.0, 0.1], [None, CAPTIONS])),
)
def test_loss_is_the_formula_written_out(alpha, beta, smoothing, captions) -> None:
    settings = {"alpha": alpha, "beta": beta, "label_smoothing": smoothing}

    loss = loss_of(ignore=None if captions is None else REPEATED, **settings)

    expected = reference.hard_negative_nce(
        QUERIES.tolist(), KEYS.tolist(), temperature=0.3, captions=captions, **settings
    )
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_equal_similarities_cost_what_their_weights_add_up_to() -> None:
    alike = torch.ones(8, 1)

    assert loss_of(alike, alike, beta=3.0).item() == pytest.approx(math.log(8), rel=1e-6)
    assert loss_of(alike, alike, alpha=0.5).item() == pytest.approx(math.log(7.5), rel=1e-6)


def test_harder_negatives_cost_more_as_beta_grows() -> None:
    losses = [loss_of(beta=beta).item() for beta in (0.0, 0.5, 1.0, 2.0)]

    assert losses == sorted(losses)
    assert losses[0] < losses[-1] - 0.1


def test_a_repeated_caption_is_no_negative_and_a_pair_is_never_its_own() -> None:
    everything = torch.ones(5, 5, dtype=torch.bool)

    assert loss_of(ignore=REPEATED).item() < loss_of().item()
    # nothing to choose from but the own key
    assert loss_of(ignore=everything, beta=1.0).item() == pytest.approx(0.0, abs=1e-12)


def test_gradient_is_that_of_the_formula() -> None:
    inputs = [t.clone().requires_grad_() for t in (QUERIES, KEYS)]
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def loss(queries, keys, temperature):
        return loss_of(
            queries,
            keys,
            temperature=temperature,
            alpha=0.5,
            beta=0.7,
            label_smoothing=0.1,
            ignore=REPEATED,
        )

    assert torch.autograd.gradcheck(loss, (*inputs, temperature))


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_floor_is_what_a_loss_free_to_choose_its_logits_falls_to(alpha: float) -> None:
    # similarities of any size: cosine similarities over a temperature as small as it takes
    logits = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")
    identity = torch.eye(6, dtype=torch.float64)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = hard_negative_nce(
            identity * logits,
            identity,
            temperature=1.0,
            label_smoothing=0.1,
            alpha=alpha,
            beta=0.0,
        )
        loss.backward()
        return loss

    optimizer.step(closure)

    floor = lowest_smoothed_loss(torch.full((6,), 6.0), label_smoothing=0.1, alpha=alpha)
    assert closure().item() == pytest.approx(floor.item(), abs=1e-6)


def test_floor_of_the_papers_batch_is_1_30_nats_and_0_without_smoothing() -> None:
    num_keys = torch.full((2,), 16_384.0)

    assert lowest_smoothed_loss(num_keys, label_smoothing=0.1).item() == pytest.approx(
        1.30, abs=5e-3
    )
    assert lowest_smoothed_loss(num_keys, label_smoothing=0.0).item() == 0


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        loss_of(QUERIES, KEYS[:3])
    with pytest.raises(ValueError, match="label_smoothing is 1"):
        loss_of(label_smoothing=1.0)
