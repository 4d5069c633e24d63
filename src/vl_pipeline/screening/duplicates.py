"""Pairs that show a picture that the pool has already; the first one stays.

Two copies of one file are one picture, with as many captions as there are. Near and semantic
duplicates are other files: they are found among pictures and not among pairs, so all captions of
the file that stays do stay. Pictures that resemble each other through others are one group.
"""

import numpy as np
from jaxtyping import Int64

from vl_pipeline.data.perceptual_hash import NUM_HASH_BYTES, colour_difference
from vl_pipeline.data.pool import Rows
from vl_pipeline.screening.components import Components
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.hash_lookup import bits_apart, near_pairs
from vl_pipeline.screening.image_embeddings import PoolEncoder, similar_pairs
from vl_pipeline.screening.pictures import Pictures

Groups = Int64[np.ndarray, " pictures"]
"""The first picture of each picture's group."""


def same_image(pictures: Pictures) -> Finding:
    """Find pairs whose image's bytes came before."""
    first = pictures.first_row[pictures.of_row]
    rows = np.flatnonzero(first != np.arange(len(first)))
    return Finding(
        rule="duplicate_image",
        rows=rows,
        matched_to=pictures.uids_of(pictures.of_row[rows]),
        distance=np.zeros(len(rows)),
        unit=None,
        limit="once",
    )


def near_image(pictures: Pictures, *, max_bits: int, max_colour_difference: float) -> Finding:
    """Find pairs whose picture comes later in a group of near hashes and colours."""
    groups = near_groups(pictures, max_bits=max_bits, max_colour_difference=max_colour_difference)
    rows, picture, stays = _not_first(pictures, groups)
    return Finding(
        rule="near_duplicate_image",
        rows=rows,
        matched_to=pictures.uids_of(stays),
        distance=bits_apart(pictures.hashes[picture], pictures.hashes[stays]).astype(np.float64),
        unit="bits",
        limit=f"> {max_bits} bits, or colours {max_colour_difference} apart",
    )


def similar_image(pictures: Pictures, *, encoder: PoolEncoder, min_similarity: float) -> Finding:
    """Find pairs whose picture comes later in a group of similar embeddings."""
    embeddings = encoder.embeddings_of(pictures)
    groups = Components(len(pictures))
    for one, other in similar_pairs(embeddings, min_similarity=min_similarity):
        groups.join(one, other)
    rows, picture, stays = _not_first(pictures, groups.first_members())
    similarity = (embeddings[picture] * embeddings[stays]).sum(axis=1)
    return Finding(
        rule="semantic_duplicate_image",
        rows=rows,
        matched_to=pictures.uids_of(stays),
        distance=1 - similarity.astype(np.float64),
        unit="cosine distance",
        limit=f"similarity < {min_similarity}",
    )


def near_groups(pictures: Pictures, *, max_bits: int, max_colour_difference: float) -> Groups:
    """Group pictures by hash and colours.

    Pictures with one and the same hash and grid are compared as one: a logo that comes a hundred
    thousand times would be looked up that often squared.
    """
    groups = Components(len(pictures))
    looks, first, look = np.unique(
        np.concatenate([pictures.hashes, pictures.grids], axis=1),
        axis=0,
        return_index=True,
        return_inverse=True,
    )
    with_hash = np.flatnonzero(pictures.hashes.any(axis=1))
    groups.join(with_hash, first[look.ravel()[with_hash]])
    hashes, grids = looks[:, :NUM_HASH_BYTES], looks[:, NUM_HASH_BYTES:]
    for one, other in near_pairs(hashes, max_bits=max_bits):
        alike = colour_difference(grids[one], grids[other]) <= max_colour_difference
        groups.join(first[one[alike]], first[other[alike]])
    return groups.first_members()


def _not_first(
    pictures: Pictures, groups: Groups
) -> tuple[Rows, Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Rows whose picture is not its group's first; their picture; and the one that stays."""
    rows = pictures.rows_with(groups != np.arange(len(groups)))
    picture = pictures.of_row[rows]
    return rows, picture, groups[picture]
