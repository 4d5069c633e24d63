"""A pool's captions under text towers that stand still: equal captions pass each tower once.

A pool is judged in blocks, and a caption that many pairs share comes up in many of them. Features
of such captions are kept for as long as the tower stands still, up to a bound on memory.
"""

import numpy as np
from jaxtyping import Float32

from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.embedding.encode import TextEncoder

_REMEMBERED_BYTES = 2**28


class PoolCaptions:
    """A pool's captions, and which of them are equal."""

    def __init__(self, tokens: Tokens) -> None:
        """Compare the captions once; costs the memory of an integer a caption."""
        self.tokens = tokens
        self.first_of_equal = tokens.first_of_equal(np.arange(len(tokens)))
        self.is_repeated = np.bincount(self.first_of_equal, minlength=len(tokens)) > 1


class StandingEncoder:
    """Gives captions' features under one state of a text tower.

    Attributes:
        num_encoded: Captions that passed the tower.
    """

    def __init__(self, encoder: TextEncoder, captions: PoolCaptions) -> None:
        """Take an encoder that is not trained for as long as this lives."""
        self.num_encoded = 0
        self._encoder = encoder
        self._captions = captions
        self._known: dict[int, np.ndarray] = {}

    def features(self, rows: Rows) -> Float32[np.ndarray, "n width"]:
        """Give unit-length features; equal captions have equal ones, to the last bit."""
        first = self._captions.first_of_equal[rows]
        is_known = np.array([row in self._known for row in first.tolist()], dtype=bool)
        encoded = self._encode(first[~is_known])
        if not is_known.any():
            return encoded
        known = np.stack([self._known[row] for row in first[is_known].tolist()])
        features = np.empty((len(rows), known.shape[1]), dtype=np.float32)
        features[is_known] = known
        features[~is_known] = encoded.reshape(-1, known.shape[1])  # none of them have no width
        return features

    def _encode(self, rows: Rows) -> np.ndarray:
        features = self._encoder.features(self._captions.tokens, rows)
        self.num_encoded += len(np.unique(rows))
        for place in np.flatnonzero(self._captions.is_repeated[rows]):
            if len(self._known) * features[0].nbytes >= _REMEMBERED_BYTES:
                break
            self._known[int(rows[place])] = features[place].copy()
        return features
