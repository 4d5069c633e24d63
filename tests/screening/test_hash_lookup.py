import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vl_pipeline.screening import hash_lookup
from vl_pipeline.screening.hash_lookup import MAX_COARSE_BITS, bits_apart, near_pairs


def flipped(hash_: np.ndarray, places: list[int]) -> np.ndarray:
    bits = np.unpackbits(hash_)
    bits[places] ^= 1
    return np.packbits(bits)


def hashes_around(seed: int, *, centres: int, copies: int, most: int) -> np.ndarray:
    """Random hashes, each with copies of which up to `most` bits, coarse ones too, are flipped."""
    draw = np.random.default_rng(seed)
    rows = []
    for centre in draw.integers(0, 256, (centres, 32), dtype=np.uint8):
        rows.append(centre)
        for _ in range(copies):
            coarse = draw.choice(80, draw.integers(0, MAX_COARSE_BITS + 3), replace=False)
            fine = 80 + draw.choice(176, draw.integers(0, most), replace=False)
            rows.append(flipped(centre, [*coarse, *fine]))
    return np.stack(rows)[draw.permutation(len(rows))]


def found(hashes: np.ndarray, max_bits: int) -> set[tuple[int, int]]:
    blocks = near_pairs(hashes, max_bits=max_bits)
    return {
        (min(pair), max(pair))
        for one, other in blocks
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }


def compared_all(hashes: np.ndarray, max_bits: int) -> set[tuple[int, int]]:
    """The definition, written out."""
    bits = np.unpackbits(hashes, axis=1)
    return {
        (i, j)
        for j in range(len(bits))
        for i in range(j)
        if bits[i].any()
        and bits[j].any()
        and (bits[i] != bits[j]).sum() <= max_bits
        and (bits[i, :80] != bits[j, :80]).sum() <= MAX_COARSE_BITS
    }


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 7, 30, 52, 90]))
def test_what_is_found_is_what_comparing_all_with_all_finds(seed, max_bits):
    hashes = hashes_around(seed, centres=3, copies=4, most=50)

    assert compared_all(hashes, max_bits) == found(hashes, max_bits)


@pytest.mark.parametrize("places", [[], [0], [79], [80], [255], list(range(11))])
def test_a_copy_is_found_wherever_its_bits_differ(places):
    hash_ = np.random.default_rng(0).integers(0, 256, 32, dtype=np.uint8)

    assert found(np.stack([hash_, flipped(hash_, places)]), 52) == {(0, 1)}


def test_many_equal_hashes_are_joined_in_blocks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(hash_lookup, "_AT_ONCE", 6)
    hashes = np.repeat(np.random.default_rng(0).integers(1, 256, (2, 32), dtype=np.uint8), 5, 0)

    blocks = list(near_pairs(hashes, max_bits=0))

    assert max(len(one) for one, _ in blocks) <= 6
    assert compared_all(hashes, 0) == found(hashes, 0)


def test_hash_without_a_bit_is_near_to_none():
    assert found(np.zeros((3, 32), dtype=np.uint8), 256) == set()


def test_no_hashes_have_no_pairs():
    assert found(np.empty((0, 32), dtype=np.uint8), 52) == set()


def test_bits_apart_counts_the_bits_that_differ():
    one = np.zeros((2, 32), dtype=np.uint8)
    other = one.copy()
    other[1, [0, 31]] = [0b101, 0b1]

    assert bits_apart(one, other).tolist() == [0, 3]
