"""Find all pairs of hashes that differ in few bits, without comparing all with all.

Two hashes are near when they differ in at most `max_bits` of all their bits, and in at most 11 of
the first 80, the coarse shapes. The 80 are cut into 4 bands of 20: 11 bits that differ cannot be 3
or more in each of the 4, so near hashes have a band in which at most 2 differ. For each band and
each of its 211 ways to flip up to 2 bits, hashes are joined to those whose band is the flipped
one. What is found is what comparing all with all would find, at about a thousandth of the work.

Source: the pigeonhole of multi-index hashing, Norouzi, Punjani and Fleet (2012), section 3.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Int64, UInt8
from tqdm import tqdm

MAX_COARSE_BITS = 11
_BANDS = 4
_BAND_BITS = 20
_COARSE_WORDS = np.array([2**64 - 1, 2**16 - 1], dtype=np.uint64)  # the first 80 bits
_AT_ONCE = 2**17  # pairs; bounds the memory, and fits a processor's cache

Hashes = UInt8[np.ndarray, "n 32"]
Pairs = tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]


def bits_apart(hashes: Hashes, others: Hashes) -> Int64[np.ndarray, " n"]:
    """Count the bits that differ, row by row."""
    return np.bitwise_count(_words(hashes) ^ _words(others)).sum(axis=1, dtype=np.int64)


def near_pairs(hashes: Hashes, *, max_bits: int) -> Iterator[Pairs]:
    """Give places of near hashes, in blocks; a pair comes at least once, up to once a band.

    A hash without a bit set is near to none.
    """
    places = np.flatnonzero(hashes.any(axis=1))
    words = _words(hashes[places])
    radius = min(MAX_COARSE_BITS, max_bits) // _BANDS
    flips = _flips(radius)
    with tqdm(total=_BANDS * len(flips), desc="near hashes", unit="join", disable=None) as bar:
        for band in range(_BANDS):
            keys = _keys_of_band(words, band)
            by_key = np.argsort(keys, kind="stable")
            # Laid out by key, what one join compares lies side by side in memory.
            buckets, ordered, names = _Buckets(keys), words[by_key], places[by_key]
            for flip in flips:
                for one, other in buckets.join(flip):
                    near = _are_near(ordered, one, other, max_bits)
                    yield names[one[near]], names[other[near]]
                bar.update()


class _Buckets:
    """Where those of each key lie once all are in the order of their keys."""

    def __init__(self, keys: Int64[np.ndarray, " n"]) -> None:
        self._counts = np.bincount(keys, minlength=2**_BAND_BITS)
        self._starts = np.cumsum(self._counts) - self._counts
        self._filled = np.flatnonzero(self._counts)

    def join(self, flip: int) -> Iterator[Pairs]:
        """Pair each place of that order with those whose key is its own, `flip`'s bits flipped."""
        one, other = self._filled, self._filled ^ flip
        wanted = (one <= other) & (self._counts[other] > 0)
        one, other = one[wanted], other[wanted]
        places = _ranges(self._starts[one], self._counts[one])
        begins = self._starts[other].repeat(self._counts[one])
        nums = self._counts[other].repeat(self._counts[one])
        if flip == 0:  # within one bucket, each place is paired with those after it
            begins, nums = places + 1, begins + nums - places - 1
        ends = nums.cumsum()
        for start in range(0, int(nums.sum()), _AT_ONCE):
            stop = min(start + _AT_ONCE, int(ends[-1]))
            first, last = ends.searchsorted([start, stop - 1], side="right")
            block = slice(first, last + 1)
            lengths = np.diff(ends[block].clip(max=stop), prepend=start)
            begin = begins[block] + nums[block] - ends[block]
            yield places[block].repeat(lengths), np.arange(start, stop) + begin.repeat(lengths)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Give `range(start, start + length)` of each, one after the other."""
    before = lengths.cumsum() - lengths
    return np.arange(lengths.sum()) + (starts - before).repeat(lengths)


def _are_near(words: np.ndarray, one: np.ndarray, other: np.ndarray, max_bits: int) -> np.ndarray:
    """Say which pairs are near; most are told by their first 64 bits and looked at no further."""
    first = np.bitwise_count(words[one, 0] ^ words[other, 0])
    left = np.flatnonzero(first <= MAX_COARSE_BITS)
    differing = words[one[left]] ^ words[other[left]]
    coarse = np.bitwise_count(differing[:, :2] & _COARSE_WORDS).sum(axis=1)
    fine = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
    return left[(coarse <= MAX_COARSE_BITS) & (fine <= max_bits)]


def _words(hashes: Hashes) -> np.ndarray:
    return np.ascontiguousarray(hashes).view("<u8")


def _keys_of_band(words: np.ndarray, band: int) -> Int64[np.ndarray, " n"]:
    """Cut 20 bits out of the first 80; which bits form a band does not matter to a pigeonhole."""
    low = words[:, 0] >> np.uint64(band * _BAND_BITS)
    if band == _BANDS - 1:
        low = low | (words[:, 1] << np.uint64(64 - band * _BAND_BITS))
    return (low & np.uint64(2**_BAND_BITS - 1)).astype(np.int64)


def _flips(radius: int) -> list[int]:
    """Give all ways to flip up to `radius` bits of a band."""
    return [
        sum(1 << place for place in places)
        for num_flipped in range(radius + 1)
        for places in combinations(range(_BAND_BITS), num_flipped)
    ]
