"""Pairs that show, or say, what the evaluation tasks ask: a model that saw them is not evaluated.

Every pool image is compared with every evaluation image. That is a pool times a few thousand, so
all are compared with all; only pool against pool needs a look-up.
"""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from vl_pipeline.data.perceptual_hash import NUM_HASH_BYTES, colour_difference
from vl_pipeline.data.pool import Rows
from vl_pipeline.screening.evaluation_images import EvaluationImages, TaskImages
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.image_embeddings import PoolEncoder, nearest
from vl_pipeline.screening.pictures import Pictures

_AT_ONCE = 2**16  # pictures


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


def near_image(
    pictures: Pictures,
    *,
    evaluation: EvaluationImages,
    max_bits: int,
    max_colour_difference: float,
) -> Finding:
    """Find pairs whose image's hash and colours are near those of an evaluation image."""
    numbers, distance = nearest_looks(
        pictures, evaluation, max_bits=max_bits, max_colour_difference=max_colour_difference
    )
    return _found(
        "leaked_near_image",
        pictures.rows_with(numbers >= 0),
        numbers[pictures.of_row],
        evaluation,
        limit=f"> {max_bits} bits, or colours > {max_colour_difference} apart",
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
    found = (asked.get(plain_text(caption), -1) if asked else -1 for caption in captions)
    numbers = np.fromiter(found, dtype=np.int64, count=len(captions))
    limit = f"no evaluation caption of {min_characters} characters or more"
    return _found("leaked_caption", np.flatnonzero(numbers >= 0), numbers, evaluation, limit=limit)


def plain_text(caption: str) -> str:
    """Reduce a caption to its letters and digits, in lower case and compatible forms."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def nearest_looks(
    pictures: Pictures,
    evaluation: EvaluationImages,
    *,
    max_bits: int,
    max_colour_difference: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each picture the nearest evaluation image within both limits; ties to the first.

    Returns:
        Its number, -1 where there is none, and the bits between them. A hash without a bit set
        is near to none.
    """
    import faiss

    numbers = np.full(len(pictures), -1, dtype=np.int64)
    distance = np.zeros(len(pictures), dtype=np.int64)
    places = np.flatnonzero(evaluation.hashes.any(axis=1))
    index = faiss.IndexBinaryFlat(8 * NUM_HASH_BYTES)
    index.add(np.ascontiguousarray(evaluation.hashes[places]))  # pyright: ignore[reportCallIssue]
    asked = np.flatnonzero(pictures.hashes.any(axis=1))
    for start in tqdm(range(0, len(asked), _AT_ONCE), desc="leak gate", unit="block", disable=None):
        block = asked[start : start + _AT_ONCE]
        hashes = np.ascontiguousarray(pictures.hashes[block])
        ends, bits, found = index.range_search(hashes, max_bits + 1)  # pyright: ignore
        one, other = np.repeat(block, np.diff(ends.astype(np.int64))), places[found]
        apart = colour_difference(pictures.grids[one], evaluation.grids[other])
        one, other, bits = (side[apart <= max_colour_difference] for side in (one, other, bits))
        order = np.lexsort((other, bits, one))
        picture, first = np.unique(one[order], return_index=True)
        numbers[picture] = other[order][first]
        distance[picture] = bits[order][first]
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
