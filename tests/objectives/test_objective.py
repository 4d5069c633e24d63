import pytest
import torch
from torch import nn

from vl_pipeline.objectives.objective import Needs, Objective, Step, union_of


class MeanOfTexts:
    """A term without parameters."""

    needs = Needs()

    def __call__(self, step: Step) -> torch.Tensor:
        return step.text_embeddings.mean()


class HeadOverSecondView(nn.Module):
    """A term with a parameter, over the second view."""

    needs = Needs(image_views=2)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, step: Step) -> torch.Tensor:
        return self.weight * step.image_embeddings[1].mean()


@pytest.fixture
def step() -> Step:
    return Step(
        image_embeddings=torch.stack([torch.zeros(3, 2), 5 * torch.ones(3, 2)]),
        text_embeddings=3 * torch.ones(3, 2),
        temperature=torch.tensor(0.1),
    )


def test_total_is_the_weighted_sum_of_the_terms(step):
    objective = Objective({"texts": (0.5, MeanOfTexts()), "head": (2.0, HeadOverSecondView())})

    total, report = objective(step)

    # 0.5 * 3 + 2 * (2 * 5)
    assert total.item() == 21.5
    assert {name: value.item() for name, value in report.items()} == {
        "loss_texts": 3.0,
        "loss_head": 10.0,
        "loss_total": 21.5,
    }


def test_report_holds_no_graph(step):
    _, report = Objective({"head": (1.0, HeadOverSecondView())})(step)

    assert not any(value.requires_grad for value in report.values())


def test_parameters_of_terms_are_the_objectives_heads(step):
    head = HeadOverSecondView()
    objective = Objective({"texts": (1.0, MeanOfTexts()), "head": (3.0, head)})

    objective(step)[0].backward()

    assert [name for name, _ in objective.heads.named_parameters()] == ["head.weight"]
    assert head.weight.grad.item() == 15.0  # 3 * 5


def test_needs_are_the_union_of_the_terms_needs():
    assert Objective({"texts": (1.0, MeanOfTexts())}).needs.image_views == 1
    assert (
        Objective(
            {"texts": (1.0, MeanOfTexts()), "head": (1.0, HeadOverSecondView())}
        ).needs.image_views
        == 2
    )


def test_taking_a_term_out_takes_its_needs_out():
    assert Needs() == union_of([])
    assert Needs(image_views=1) == union_of([MeanOfTexts.needs])


def test_embeddings_come_out_at_unit_length(step):
    assert step.unit_images(view=1).norm(dim=-1).tolist() == pytest.approx([1, 1, 1])
    assert step.unit_texts().norm(dim=-1).tolist() == pytest.approx([1, 1, 1])
