"""Exact ranking by cosine similarity, a block of queries at a time so that memory stays bounded.

Candidates of equal similarity rank in their order, so every metric has one value.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64

_SIMILARITIES_AT_ONCE = 1 << 24  # 64 MiB of float32


def similarity_blocks(
    queries: Float32[np.ndarray, "n d"],
    candidates: Float32[np.ndarray, "m d"],
    *,
    similarities_at_once: int = _SIMILARITIES_AT_ONCE,
) -> Iterator[tuple[slice, Float32[np.ndarray, "block m"]]]:
    """Yield the rows of consecutive blocks of queries, and their similarity to every candidate.

    Args:
        queries: Unit length.
        candidates: Unit length.
        similarities_at_once: Bounds the size of a block, which has at least one row.

    Raises:
        ValueError: If a row is not finite: it would rank by chance instead of failing.
    """
    _require_finite(queries)
    _require_finite(candidates)
    block_size = max(1, similarities_at_once // max(1, len(candidates)))
    for start in range(0, len(queries), block_size):
        rows = slice(start, min(start + block_size, len(queries)))
        yield rows, queries[rows] @ candidates.T


def rank_of(
    places: Int64[np.ndarray, " block"], similarity: Float32[np.ndarray, "block m"]
) -> Int64[np.ndarray, " block"]:
    """Count the candidates that rank ahead of the one at `places[i]`, for each row i.

    Ahead are those more similar, and those equally similar that come earlier; so rank 0 is
    where `argmax` points.
    """
    own = np.take_along_axis(similarity, places[:, None], axis=1)
    earlier = np.arange(similarity.shape[1]) < places[:, None]
    return ((similarity > own) | ((similarity == own) & earlier)).sum(axis=1)


def _require_finite(embeddings: Float32[np.ndarray, "n d"]) -> None:
    damaged = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(damaged):
        raise ValueError(
            f"{len(damaged)} of {len(embeddings)} embeddings are not finite, the first is row "
            f"{damaged[0]}; the model's weights hold NaN, evaluate an earlier checkpoint"
        )
