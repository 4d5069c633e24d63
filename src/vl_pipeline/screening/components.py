"""Groups of things that are the same: whatever is joined, directly or through others."""

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_JOIN_AT_ONCE = 2**20  # pairs kept until they are merged


class Components:
    """The connected components of things 0 to n - 1; which pairs come first does not matter."""

    def __init__(self, num_things: int) -> None:
        """Begin with each thing by itself."""
        self._first = np.arange(num_things)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_waiting = 0

    def join(self, one: Int64[np.ndarray, " n"], other: Int64[np.ndarray, " n"]) -> None:
        """Say that one[i] and other[i] are the same; in place."""
        one, other = self._first[one], self._first[other]
        apart = one != other
        self._waiting.append((one[apart], other[apart]))
        self._num_waiting += int(apart.sum())
        if self._num_waiting > _JOIN_AT_ONCE:
            self._merge()

    def first_members(self) -> Int64[np.ndarray, " things"]:
        """Give for each thing the first one of its component."""
        self._merge()
        return self._first

    def _merge(self) -> None:
        if not self._num_waiting:
            return
        one, other = (np.concatenate(side) for side in zip(*self._waiting, strict=True))
        self._waiting, self._num_waiting = [], 0
        shape = (len(self._first), len(self._first))
        joined = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=shape)
        labels = connected_components(joined, directed=False)[1]
        first_of_label = np.unique(labels, return_index=True)[1]
        self._first = first_of_label[labels[self._first]]
