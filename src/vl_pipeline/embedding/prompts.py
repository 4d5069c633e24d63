"""Classes as text: each name in each template, and one vector for what a class's texts say.

Zero-shot classification describes its classes this way, and curation its target texts.

Source: CLIP (arXiv 2103.00020) section 3.1.4; CiT's released code averages a class's synonyms
likewise when it curates (engine.py).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from vl_pipeline.data.tasks import PLACEHOLDER


def prompts(class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Fill every class name into every template: all of the first class, then the next."""
    return [template.replace(PLACEHOLDER, name) for name in class_names for template in templates]


def mean_of_prompts(
    prompt_vectors: Float32[np.ndarray, "prompts d"], *, num_classes: int
) -> Float32[np.ndarray, "classes d"]:
    """Average each class's prompts and scale the mean to unit length.

    A single prompt is its own mean, to the last bit.

    Args:
        prompt_vectors: Unit length, in the order of `prompts`.
        num_classes: Classes; each has equally many prompts.
    """
    if len(prompt_vectors) == num_classes:
        return prompt_vectors
    per_class = prompt_vectors.reshape(num_classes, -1, prompt_vectors.shape[1])
    means = per_class.mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.maximum(lengths, np.finfo(np.float32).tiny)
