import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import unit
from tests.reference import contrastive as reference
from vl_pipeline.objectives.info_nce import info_nce


def noise(seed: int, n: int = 5, d: int = 4) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=draw), dim=-1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_keys_that_all_look_alike_cost_log_n(n):
    queries = torch.from_numpy(unit(*[[1, 0]] * n))

    loss = info_nce(queries, queries, temperature=0.07)

    assert math.log(n) == pytest.approx(loss.item(), abs=1e-6)


def test_perfectly_aligned_batch_costs_nothing():
    # also the regression test against a softmax before the cross entropy, whose floor for 64
    # pairs is log(1 + 63 / e) = 3.2
    pairs = torch.eye(64)

    loss = info_nce(pairs, pairs, temperature=0.01)

    assert loss.item() < 0.01
    assert (
        pytest.approx(
            reference.softmax_taken_twice(pairs.tolist(), pairs.tolist(), temperature=0.01),
            abs=0.01,
        )
        == 3.18
    )


def test_two_pairs_cost_what_the_formula_says():
    queries = torch.from_numpy(unit([1, 0], [0, 1]))
    keys = torch.from_numpy(unit([1, 0], [1, 0]))

    loss = info_nce(queries, keys, temperature=0.5)

    # query 1: similarities 1 and 1, so log 2; query 2: 0 and 0, so log 2
    assert math.log(2) == pytest.approx(loss.item(), abs=1e-6)


def test_negatives_count_by_their_similarity():
    queries = torch.from_numpy(unit([1, 0], [0, 1]))

    loss = info_nce(queries, queries, temperature=0.5)

    # own key at 1 / 0.5 = 2, the other at 0: -log(e^2 / (e^2 + e^0)) = log(1 + e^-2)
    assert math.log(1 + math.exp(-2)) == pytest.approx(loss.item(), abs=1e-6)


@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([0.05, 0.3, 1.0, 4.0]),
    st.sampled_from([0.0, 0.1, 0.9]),
)
def test_equals_the_mean_of_minus_log_p(seed, n, temperature, label_smoothing):
    queries, keys = noise(seed, n), noise(seed + 1, n)
    settings = {"temperature": temperature, "label_smoothing": label_smoothing}

    loss = info_nce(queries, keys, **settings)

    expected = reference.info_nce(queries.tolist(), keys.tolist(), **settings)
    assert expected == pytest.approx(loss.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.1, 0.5])
def test_smoothed_labels_have_a_floor_that_alignment_cannot_pass(label_smoothing):
    n = 4
    # the best p is the smoothed label itself; its entropy is the floor
    own, other = 1 - label_smoothing + label_smoothing / n, label_smoothing / n
    floor = -own * math.log(own) - (n - 1) * other * math.log(other)
    best_temperature = 1 / math.log(own / other)  # makes softmax([1, 0, 0, 0] / t) that label

    losses = [
        info_nce(torch.eye(n), torch.eye(n), temperature=t, label_smoothing=label_smoothing).item()
        for t in (0.01, best_temperature, 1.0)
    ]

    assert floor == pytest.approx(losses[1], abs=1e-5)
    assert min(losses[0], losses[2]) > floor + 1e-3


def test_gradient_is_the_slope():
    queries, keys = noise(0, 4, 3).double(), noise(1, 4, 3).double()
    temperature = torch.tensor(0.3, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (queries, keys, temperature)]

    assert torch.autograd.gradcheck(
        lambda q, k, t: info_nce(q, k, temperature=t, label_smoothing=0.1), inputs
    )


def test_gradient_pulls_to_the_own_key_and_away_from_the_others():
    queries = torch.from_numpy(unit([1, 1], [1, -1])).requires_grad_()
    keys = torch.from_numpy(unit([1, 0], [0, 1]))

    info_nce(queries, keys, temperature=1.0).backward()

    step = -queries.grad
    assert ((step @ keys.T).diagonal() > 0).all()
    assert (step @ keys.T)[0, 1] < 0
    assert (step @ keys.T)[1, 0] < 0


@given(st.permutations(range(6)), st.integers(0, 10**6))
def test_order_of_pairs_does_not_matter(order, seed):
    queries, keys = noise(seed, 6), noise(seed + 1, 6)

    shuffled = info_nce(queries[list(order)], keys[list(order)], temperature=0.1)

    assert info_nce(queries, keys, temperature=0.1).item() == pytest.approx(
        shuffled.item(), rel=1e-5
    )


def test_swapped_keys_cost_more():
    pairs = torch.eye(3)

    assert info_nce(pairs, pairs[[1, 0, 2]], temperature=0.1) > info_nce(
        pairs, pairs, temperature=0.1
    )


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"queries \(2, 2\) and keys \(3, 3\) differ"):
        info_nce(torch.eye(2), torch.eye(3), temperature=1.0)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_label_smoothing_outside_its_range_is_refused(label_smoothing):
    with pytest.raises(ValueError, match="label_smoothing"):
        info_nce(torch.eye(2), torch.eye(2), temperature=1.0, label_smoothing=label_smoothing)
