"""The gradient of one batch's loss, at once or with the memory of a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vl_pipeline.data.pool import Rows
from vl_pipeline.embedding.image_source import ImageSource
from vl_pipeline.models.device import autocast_for
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.objective import Objective, Step


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's input: pool rows, and what the towers take."""

    rows: Rows
    images: Float[Tensor, "views n *input"]
    tokens: Tensor


class BatchGradient:
    """Runs a batch through towers and objective, and back."""

    def __init__(
        self,
        model: DualEncoder,
        objective: Objective,
        source: ImageSource,
        *,
        num_parts: int,
        device: torch.device,
    ) -> None:
        """Take what is differentiated, and how many parts a batch is cut into to save memory."""
        self._model = model
        self._objective = objective
        self._source = source
        self._num_parts = num_parts
        self._device = device

    def backward(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradient of a batch's loss to the parameters'.

        Returns:
            The objective's report.
        """
        if self._num_parts == 1:
            images, texts = self._embed(batch.images, batch.tokens)
            total, report = self._objective(self._joined(images, texts, batch))
            total.backward()
            return report
        return self._backward_in_parts(batch)

    def _backward_in_parts(self, batch: Batch) -> dict[str, Tensor]:
        """Gradient of the whole batch's loss with the memory of a part.

        The loss is differentiated with respect to all embeddings at once; each part is then run
        again, with the random draws of its first pass (dropout), and receives its share of that
        gradient.

        Source: Gao et al., gradient caching (arXiv 2101.06983), section 3.
        """
        parts = self._num_parts
        image_parts = batch.images.tensor_split(parts, dim=1)
        token_parts = batch.tokens.tensor_split(parts)
        states, embedded = [], []
        with torch.no_grad():
            for image_part, token_part in zip(image_parts, token_parts, strict=True):
                states.append(_random_state(self._device))
                embedded.append(self._embed(image_part, token_part))
        images = torch.cat([i for i, _ in embedded], dim=1).requires_grad_()
        texts = torch.cat([t for _, t in embedded]).requires_grad_()
        total, report = self._objective(self._joined(images, texts, batch))
        total.backward()
        assert images.grad is not None and texts.grad is not None
        gradients = zip(
            images.grad.tensor_split(parts, dim=1), texts.grad.tensor_split(parts), strict=True
        )
        with _batch_statistics_kept(self._model):
            for image_part, token_part, gradient, state in zip(
                image_parts, token_parts, gradients, states, strict=True
            ):
                with _drawing_from(state, self._device):
                    embedded_again = self._embed(image_part, token_part)
                pairs = zip(embedded_again, gradient, strict=True)
                trained = [(e, g) for e, g in pairs if e.requires_grad]
                torch.autograd.backward([e for e, _ in trained], [g for _, g in trained])
        return report

    def _embed(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        with autocast_for(self._device):
            text_features = self._model.text_features(tokens)
            images = self._source.embed(images)
            return images.float(), self._model.text_tower.projection(text_features).float()

    def _joined(self, images: Tensor, texts: Tensor, batch: Batch) -> Step:
        captions = None
        if self._objective.needs.captions:  # the same to the text tower: equal tokens
            captions = batch.tokens.unique(dim=0, return_inverse=True)[1]
        return Step(
            image_embeddings=images,
            text_embeddings=texts,
            temperature=self._model.temperature,
            captions=captions,
        )


def _random_state(device: torch.device) -> tuple[Tensor, ...]:
    """Where random draws stand: on the CPU, and on `device` where that is another."""
    on_cpu = torch.get_rng_state()
    return (on_cpu, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (on_cpu,)


@contextmanager
def _drawing_from(state: tuple[Tensor, ...], device: torch.device) -> Iterator[None]:
    """Draw from a state of `_random_state`, and go on afterwards from where draws stood before."""
    on_cpu, *on_device = state
    with torch.random.fork_rng(devices=[device] if on_device else []):
        torch.set_rng_state(on_cpu)
        if on_device:
            torch.cuda.set_rng_state(on_device[0], device)
        yield


class _batch_statistics_kept:  # noqa: N801 - used as a statement
    """Keep batch norms from counting a batch twice when it is run a second time."""

    def __init__(self, model: nn.Module) -> None:
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        self._norms = [(m, m.momentum) for m in model.modules() if isinstance(m, kinds)]

    def __enter__(self) -> None:
        for norm, _ in self._norms:
            norm.momentum = 0.0

    def __exit__(self, *_: object) -> None:
        for norm, momentum in self._norms:
            norm.momentum = momentum
