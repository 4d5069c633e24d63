"""Sweep the limits of the near-duplicate rule on a pool whose planted duplicates are known.

    python benchmarks/sweep_near_duplicates.py POOL TRUTH.parquet

A planted near duplicate is found when it ends in one group with the picture it was made from.
A picture that a rule turns away is a true one when truth knows it and the one that stays as the
same; pools hold unplanted duplicates too, so precision is a lower bound.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from known_truth import pictures_of

from vl_pipeline.data.perceptual_hash import colour_difference
from vl_pipeline.screening.components import Components
from vl_pipeline.screening.hash_lookup import bits_apart, near_pairs

HASH_BITS = (16, 24, 32, 40, 44, 48, 52, 56, 60, 68, 76)
COLOUR_DIFFERENCES = (0.08, 0.12, 0.16, 0.2, 0.3, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    pictures = pictures_of(arguments.pool)
    origin, planted = read_truth(pictures.pairs, pq.read_table(arguments.truth))
    origin_of_picture = origin[pictures.first_row]
    pairs = [np.stack(block) for block in near_pairs(pictures.hashes, max_bits=max(HASH_BITS))]
    one, other = np.unique(np.sort(np.concatenate(pairs, axis=1), axis=0), axis=1)
    bits = bits_apart(pictures.hashes[one], pictures.hashes[other])
    colours = colour_difference(pictures.grids[one], pictures.grids[other])
    made_from, made = (pictures.of_row[side] for side in planted)
    other_file = made_from != made
    made_from, made = made_from[other_file], made[other_file]
    print(f"{len(pictures)} pictures, {len(made)} planted near duplicates")
    print("| bits | colours | turned away | true | recall | precision | largest group |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for max_bits in HASH_BITS:
        for max_colours in COLOUR_DIFFERENCES:
            near = (bits <= max_bits) & (colours <= max_colours)
            groups = Components(len(pictures))
            groups.join(one[near], other[near])
            first = groups.first_members()
            away = np.flatnonzero(first != np.arange(len(first)))
            true = int((origin_of_picture[away] == origin_of_picture[first[away]]).sum())
            recall = (first[made] == first[made_from]).mean()
            print(
                f"| {max_bits} | {max_colours} | {len(away)} | {true} | {recall:.3f} | "
                f"{true / max(len(away), 1):.3f} | {np.bincount(first).max()} |"
            )


def read_truth(pairs: pa.Table, truth: pa.Table) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Give each pair's origin, and the rows (original, copy) of planted near duplicates.

    Truth names what a row repeats by key (`duplicate_of`) or by URL (`dup_of`).
    """
    column, name = (
        ("duplicate_of", "key") if "duplicate_of" in truth.schema.names else ("dup_of", "url")
    )
    rows = truth.select(["key", name, column, "noise"]).to_pylist()
    original = {row[name]: row["key"] for row in reversed(rows) if row[column] is None}
    origin = {row["key"]: original.get(row[column] or row[name], row["key"]) for row in rows}
    row_of = {key: row for row, key in enumerate(pairs["key"].to_pylist())}
    copies = [
        (row_of[origin[row["key"]]], row_of[row["key"]])
        for row in rows
        if row["noise"] in ("near_dup", "near_duplicate")
        and row["key"] in row_of
        and origin[row["key"]] in row_of
    ]
    numbers = {key: number for number, key in enumerate(origin)}
    return (
        np.array([numbers[origin[key]] for key in row_of]),
        tuple(np.array(copies, dtype=np.int64).reshape(-1, 2).T),
    )


if __name__ == "__main__":
    main()
