"""An objective is a weighted sum of named terms over one training step.

A term is a small module from a `Step` to a scalar. It says what it needs of the step; loader and
model provide the union of the needs, so that taking a term out takes its cost out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vl_pipeline.models.dual_encoder import DualEncoder, unit


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a term wants of a step.

    Attributes:
        image_views: Random views of each image.
        captions: Whether it has to know which pairs have the same caption.
    """

    image_views: int = 1
    captions: bool = False

    def union(self, other: "Needs") -> "Needs":
        """Give what satisfies both."""
        return Needs(
            image_views=max(self.image_views, other.image_views),
            captions=self.captions or other.captions,
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one forward pass over a global batch of n pairs produced.

    Attributes:
        image_embeddings: As the model gives them, one slice per view; not normalised.
        text_embeddings: As the model gives them; row i belongs to row i of each view.
        temperature: Positive scalar.
        captions: A number for each pair, the same for the same caption; where a term needs it.
    """

    image_embeddings: Float[Tensor, "views n d"]
    text_embeddings: Float[Tensor, "n d"]
    temperature: Float[Tensor, ""]
    captions: Int64[Tensor, " n"] | None = None

    def unit_images(self, view: int = 0) -> Float[Tensor, "n d"]:
        """One view's image embeddings at unit length, in float32."""
        return unit(self.image_embeddings[view])

    def unit_texts(self) -> Float[Tensor, "n d"]:
        """Text embeddings at unit length, in float32."""
        return unit(self.text_embeddings)


@runtime_checkable
class Term(Protocol):
    """One named part of an objective; an `nn.Module` where it has parameters of its own."""

    needs: Needs

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        """Give the term's loss, in nats unless it says otherwise."""
        ...


@runtime_checkable
class Floored(Protocol):
    """A term whose loss cannot fall to 0: what is left says how much of it can still go."""

    def floor(self, step: Step) -> Float[Tensor, ""]:
        """Give the least value that the term can have on a batch like this."""
        ...


class Objective(nn.Module):
    """A weighted sum of named terms."""

    def __init__(self, terms: dict[str, tuple[float, Term]]) -> None:
        """Take terms by name, each with its weight in the sum."""
        super().__init__()
        self._terms = terms
        self.heads = nn.ModuleDict(
            {n: t for n, (_, t) in terms.items() if isinstance(t, nn.Module)}
        )

    @property
    def needs(self) -> Needs:
        """The union of what the terms need."""
        return union_of(term.needs for _, term in self._terms.values())

    def forward(self, step: Step) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Evaluate every term.

        Returns:
            The weighted sum, and each term's unweighted, detached loss under `loss_<name>`; less
            its floor, for a term that has one, under `loss_<name>_above_floor`.
        """
        losses = {name: term(step) for name, (_, term) in self._terms.items()}
        weighted = [weight * losses[name] for name, (weight, _) in self._terms.items()]
        total = torch.stack(weighted).sum()
        report = {f"loss_{name}": loss.detach() for name, loss in losses.items()}
        for name, (_, term) in self._terms.items():
            if isinstance(term, Floored):
                report[f"loss_{name}_above_floor"] = losses[name].detach() - term.floor(step)
        return total, report | {"loss_total": total.detach()}


class ObjectiveRecipe(Protocol):
    """A method's objective as parameters: a frozen dataclass whose fields stand in YAML."""

    def build(self, model: DualEncoder, *, seed: int) -> Objective:
        """Give the objective for `model`; weights of heads are drawn from `seed`."""
        ...


def union_of(needs: Iterable[Needs]) -> Needs:
    """Fold needs into one that satisfies all."""
    result = Needs()
    for need in needs:
        result = result.union(need)
    return result
