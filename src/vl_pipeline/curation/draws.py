"""Chance that does not depend on order: a number in [0, 1) that a pair's uid determines."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from vl_pipeline.data.digest import digest_of_bytes


def uniform_draws(uids: Sequence[str], *, seed: int) -> Float64[np.ndarray, " n"]:
    """Draw for each pair: the same number in any order, in any block, on any machine.

    Args:
        uids: Hexadecimal digests.
        seed: Another seed draws independently.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), over the uid's first 64
    bits, which are a hash already, and a hash of the seed.
    """
    return _to_unit(_mixed(_bits_of(uids) ^ _bits_of_seed(seed)))


def uniform_draws_per_text(
    uids: Sequence[str], texts: Sequence[str], *, seed: int | tuple[int, int]
) -> Float64[np.ndarray, " n"]:
    """Draw for each pair and a text beside it, `uids[i]` with `texts[i]`.

    Texts count by what they say and not by their place in a list. One pair's draws for two texts
    are independent. A seed may come with the number of a round; (seed, 0) draws as seed does.
    """
    bits = {text: int(digest_of_bytes(text.encode())[:16], 16) for text in set(texts)}
    of_texts = np.array([bits[text] for text in texts], dtype=np.uint64)
    return _to_unit(_mixed(_mixed(_bits_of(uids) ^ _bits_of_seed(seed)) ^ of_texts))


def _bits_of(uids: Sequence[str]) -> np.ndarray:
    first_half = bytes.fromhex("".join(uid[:16] for uid in uids))
    return np.frombuffer(first_half, dtype=">u8").astype(np.uint64)


def _bits_of_seed(seed: int | tuple[int, int]) -> np.uint64:
    return np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]


def _mixed(bits: np.ndarray) -> np.ndarray:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _to_unit(bits: np.ndarray) -> Float64[np.ndarray, " n"]:
    return (bits >> np.uint64(11)) / 2**53


def largest_draws(
    draws: Float64[np.ndarray, " n"],
    numbers: Int64[np.ndarray, " n"],
    *,
    num_texts: int,
    num_kept: int,
) -> Float64[np.ndarray, " texts"]:
    """Find for each text the draw up to which its `num_kept` smallest lie; 1 where it has fewer.

    Args:
        draws: In [0, 1).
        numbers: Which text each draw is for.
        num_texts: Texts there are.
        num_kept: Draws each text may keep.
    """
    limits = np.ones(num_texts)
    order = np.lexsort((draws, numbers))
    counts = np.bincount(numbers, minlength=num_texts)
    starts = np.cumsum(counts) - counts
    crowded = np.flatnonzero(counts > num_kept)
    limits[crowded] = draws[order][starts[crowded] + num_kept - 1] if num_kept else -1.0
    return limits
