"""Randomness that follows from a seed and a purpose, never from the order of calls."""

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """The random stream of one thing, independent of every other purpose and index.

    CRC-32 names the purpose because `hash(str)` differs between processes.
    """
    return np.random.default_rng((seed, zlib.crc32(purpose.encode()), index))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each equally likely."""
    return options[int(rng.integers(len(options)))]


def happens(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability in [0, 1]."""
    return bool(rng.random() < probability)
