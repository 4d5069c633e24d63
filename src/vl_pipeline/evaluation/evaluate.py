"""Evaluate a model on a task: embed what the task holds, then measure."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int64

from vl_pipeline.data.tasks import ClassificationTask, RetrievalTask
from vl_pipeline.data.tokens import Tokenizer, tokenize
from vl_pipeline.embedding.encode import TextEncoder, encode_images
from vl_pipeline.embedding.prompts import mean_of_prompts, prompts
from vl_pipeline.evaluation.nearest_neighbours import (
    NearestNeighbours,
    nearest_neighbour_metrics,
)
from vl_pipeline.evaluation.retrieval import retrieval_metrics
from vl_pipeline.evaluation.zero_shot import (
    confusion_matrix,
    per_class_table,
    predict,
    zero_shot_metrics,
)
from vl_pipeline.models.dual_encoder import DualEncoder

EmbedTexts = Callable[[Sequence[str]], Float32[np.ndarray, "n d"]]
"""Texts to unit-length embeddings, in order."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a model reached on one task.

    Attributes:
        name: The task's.
        metrics: Finite numbers by name; see `zero_shot_metrics`, `retrieval_metrics` and
            `nearest_neighbour_metrics`.
        per_class: See `per_class_table`; None for retrieval.
        confusion: Images by true class (row) and predicted class (column); None for retrieval.
        class_names: Of the rows of `per_class` and `confusion`; empty for retrieval.
    """

    name: str
    metrics: dict[str, float]
    per_class: pa.Table | None = None
    confusion: Int64[np.ndarray, "classes classes"] | None = None
    class_names: tuple[str, ...] = ()


def evaluate_task(
    task: ClassificationTask | RetrievalTask,
    *,
    model: DualEncoder,
    tokenizer: Tokenizer,
    device: torch.device,
    batch_size: int,
    num_threads: int,
    labelled: ClassificationTask | None = None,
    knn: NearestNeighbours | None = None,
) -> TaskResult:
    """Evaluate a model on one task; leaves the model in evaluation mode.

    Args:
        task: Images with labels, or with captions.
        model: On `device` already.
        tokenizer: The model's.
        device: Where the model runs.
        batch_size: Images per forward pass.
        num_threads: Threads that decode images.
        labelled: Images of another split that vote on the label of the task's; None for no vote.
        knn: How they vote.

    Raises:
        ShardError: If an image cannot be read.
        ValueError: If an embedding is not finite, or an image to retrieve has no caption.
    """

    def embed_images(images: list[bytes]) -> Float32[np.ndarray, "n d"]:
        return encode_images(
            model, images, device=device, batch_size=batch_size, num_threads=num_threads
        )

    image_embeddings = embed_images(task.images)
    encoder = TextEncoder(model, device)

    def embed_texts(texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        return encoder.embeddings(tokenize(texts, tokenizer))

    if isinstance(task, RetrievalTask):
        return evaluate_retrieval(task, image_embeddings, embed_texts)
    result = evaluate_classification(task, image_embeddings, embed_texts)
    if labelled is None or knn is None:
        return result
    neighbours = nearest_neighbour_metrics(
        image_embeddings, task.labels, embed_images(labelled.images), labelled.labels, knn
    )
    return dataclasses.replace(result, metrics=result.metrics | neighbours)


def evaluate_classification(
    task: ClassificationTask,
    image_embeddings: Float32[np.ndarray, "n d"],
    embed_texts: EmbedTexts,
) -> TaskResult:
    """Classify a task's images by its class names; `image_embeddings` are unit length."""
    num_classes = len(task.class_names)
    weights = mean_of_prompts(
        embed_texts(prompts(task.class_names, task.templates)), num_classes=num_classes
    )
    predictions, ranks = predict(image_embeddings, weights, task.labels)
    confusion = confusion_matrix(predictions, task.labels, num_classes=num_classes)
    return TaskResult(
        name=task.name,
        metrics=zero_shot_metrics(ranks, task.labels, num_classes=num_classes),
        per_class=per_class_table(confusion, task.class_names),
        confusion=confusion,
        class_names=tuple(task.class_names),
    )


def evaluate_retrieval(
    task: RetrievalTask,
    image_embeddings: Float32[np.ndarray, "n d"],
    embed_texts: EmbedTexts,
) -> TaskResult:
    """Match a task's images and captions both ways; `image_embeddings` are unit length."""
    counts = [len(captions) for captions in task.captions]
    caption_embeddings = embed_texts([text for captions in task.captions for text in captions])
    image_of_caption = np.repeat(np.arange(len(counts)), counts)
    return TaskResult(
        name=task.name,
        metrics=retrieval_metrics(image_embeddings, caption_embeddings, image_of_caption),
    )
