"""Pairs that show, or say, what the evaluation tasks ask: a model that saw them is not evaluated.

Every pool image is compared with every evaluation image. That is a pool times a few thousand, so
all are compared with all; only pool against pool needs a look-up.
"""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from vl_pipeline.data.pool import Rows
from vl_pipeline.screening.evaluation_images import EvaluationImages, TaskImages
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.hash_lookup import Hashes
from vl_pipeline.screening.image_embeddings import PoolEncoder, nearest
from vl_pipeline.screening.pictures import Pictures

_HASHES_AT_ONCE = 2**16


def same_image(pictures: Pictures, *, evaluation: EvaluationImages) -> Finding:
    """Find pairs whose image has the bytes of an evaluation image."""
    hashes = pa.array(evaluation.image_hashes, pa.string())
    numbers = pc.index_in(pictures.image_hashes, value_set=hashes).fill_null(-1).to_numpy()
    return _found(
        "leaked_image",
        pictures.rows_with(numbers >= 0),
        numbers[pictures.of_row],
        evaluation,
        limit="other bytes than any evaluation image",
    )


def near_image(pictures: Pictures, *, evaluation: EvaluationImages, max_bits: int) -> Finding:
    """Find pairs whose image's hash is near that of an evaluation image."""
    numbers, distance = nearest_hashes(pictures.hashes, evaluation.perceptual_hashes)
    return _found(
        "leaked_near_image",
        pictures.rows_with(distance <= max_bits),
        numbers[pictures.of_row],
        evaluation,
        limit=f"> {max_bits} bits",
        distance=distance[pictures.of_row],
        unit="bits",
    )


def similar_image(
    pictures: Pictures,
    *,
    encoder: PoolEncoder,
    evaluation: EvaluationImages,
    tasks: TaskImages,
    min_similarity: float,
) -> Finding:
    """Find pairs whose image's embedding is near that of an evaluation image."""
    asked = encoder.embed_evaluation(evaluation, tasks)
    numbers, similarity = nearest(encoder.embeddings_of(pictures), asked)
    return _found(
        "leaked_embedding",
        pictures.rows_with(similarity >= min_similarity),
        numbers[pictures.of_row],
        evaluation,
        limit=f"similarity < {min_similarity}",
        distance=1 - similarity[pictures.of_row],
        unit="cosine distance",
    )


def same_caption(
    pictures: Pictures, *, evaluation: EvaluationImages, min_characters: int
) -> Finding:
    """Find pairs whose caption says, letter for letter, what a caption to be retrieved says."""
    place_of = {name: number for number, name in enumerate(evaluation.names)}
    asked: dict[str, int] = {}
    for caption, name in evaluation.captions:
        plain = plain_text(caption)
        if len(plain) >= min_characters:
            asked.setdefault(plain, place_of[name])
    captions = pictures.pairs["caption"].to_pylist()
    found = (asked.get(plain_text(caption), -1) for caption in captions)
    numbers = np.fromiter(found, dtype=np.int64, count=len(captions))
    limit = f"no evaluation caption of {min_characters} characters or more"
    return _found("leaked_caption", np.flatnonzero(numbers >= 0), numbers, evaluation, limit=limit)


def plain_text(caption: str) -> str:
    """Reduce a caption to its letters and digits, in lower case and compatible forms."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def nearest_hashes(hashes: Hashes, others: Hashes) -> tuple[np.ndarray, np.ndarray]:
    """Find for each hash the nearest other, and the bits between them; ties to the first.

    A hash without a bit set is further away than any, and so is all where there are no others.
    """
    import faiss

    numbers = np.zeros(len(hashes), dtype=np.int64)
    distance = np.full(len(hashes), 257, dtype=np.int64)
    places = np.flatnonzero(others.any(axis=1))
    if not len(places):
        return numbers, distance
    index = faiss.IndexBinaryFlat(256)
    index.add(np.ascontiguousarray(others[places]))  # pyright: ignore[reportCallIssue]
    starts = range(0, len(hashes), _HASHES_AT_ONCE)
    for start in tqdm(starts, desc="leak gate", unit="block", disable=None):
        part = slice(start, start + _HASHES_AT_ONCE)
        queries = np.ascontiguousarray(hashes[part])
        found, which = index.search(queries, 1)  # pyright: ignore[reportCallIssue]
        numbers[part] = places[which[:, 0]]
        distance[part] = np.where(queries.any(axis=1), found[:, 0], 257)
    return numbers, distance


def _found(
    rule: str,
    rows: Rows,
    numbers: np.ndarray,
    evaluation: EvaluationImages,
    *,
    limit: str,
    distance: np.ndarray | None = None,
    unit: str | None = None,
) -> Finding:
    """Build a finding from the evaluation image, and the distance, of every row."""
    return Finding(
        rule=rule,
        rows=rows,
        matched_to=[evaluation.names[number] for number in numbers[rows]],
        distance=np.zeros(len(rows)) if distance is None else distance[rows].astype(np.float64),
        unit=unit,
        limit=limit,
    )
