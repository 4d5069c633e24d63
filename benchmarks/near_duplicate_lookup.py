"""How the look-up of near duplicates grows: CPU seconds and memory by number of hashes.

    python benchmarks/near_duplicate_lookup.py [200000 1000000 ...]

Random hashes, a fifth of them copies of others with each bit flipped at 0.08, so that nearly all
copies are within the limits. That exactly what is near is found, the tests show; here the
planted copies within the limits are counted, and the program ends with an error if one is missed.
"""

import argparse
import os
import resource
import sys
import time

import numpy as np

from vl_pipeline.screening.hash_lookup import MAX_COARSE_BITS, bits_apart, near_pairs

MAX_BITS = 52  # the default of screening.duplicates.max_hash_bits
FLIPPED = 0.08  # share of a copy's bits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[200_000, 1_000_000])
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print("| hashes | planted and near | near pairs | CPU seconds | peak MB |")
    print("| --- | --- | --- | --- | --- |")
    for size in parser.parse_args().sizes:
        hashes, planted = hashes_with_copies(size)
        start = time.process_time()
        blocks = [
            np.sort(np.stack(block), axis=0) for block in near_pairs(hashes, max_bits=MAX_BITS)
        ]
        seconds = time.process_time() - start
        found = np.unique(_number(np.concatenate(blocks, axis=1), size))
        if missed := np.setdiff1d(_number(planted, size), found).size:
            sys.exit(f"{missed} of {planted.shape[1]} planted copies were missed")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {size:,} | {planted.shape[1]:,} | {found.size:,} | {seconds:.1f} | {peak:.0f} |")


def hashes_with_copies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give shuffled hashes, and the places of the copies that are near their originals."""
    draw = np.random.default_rng(0)
    originals = draw.integers(0, 256, (size - size // 5, 32), dtype=np.uint8)
    copied = draw.integers(0, len(originals), size // 5)
    flips = np.packbits(draw.random((size // 5, 256)) < FLIPPED, axis=1)
    hashes = np.concatenate([originals, originals[copied] ^ flips])
    coarse = np.zeros_like(flips)
    coarse[:, :10] = flips[:, :10]
    nothing = np.zeros_like(flips)
    near = (bits_apart(flips, nothing) <= MAX_BITS) & (
        bits_apart(coarse, nothing) <= MAX_COARSE_BITS
    )
    order = draw.permutation(size)
    place_of = np.argsort(order)
    pairs = np.stack([place_of[copied[near]], place_of[len(originals) + np.flatnonzero(near)]])
    return hashes[order], np.sort(pairs, axis=0)


def _number(pairs: np.ndarray, size: int) -> np.ndarray:
    return pairs[0].astype(np.int64) * size + pairs[1]


if __name__ == "__main__":
    main()
