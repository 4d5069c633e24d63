"""The pool as a schedule sees it: through the text tower as it is now, or as it was."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np
import pyarrow as pa

from vl_pipeline.curation.selection import Candidates, no_pair_scores
from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.embedding.captions import PoolCaptions, StandingEncoder
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.prompts import mean_of_prompts
from vl_pipeline.embedding.store import PairScores

Look = Callable[[Rows], Candidates]
"""Turns pool rows into candidates, under one state of the text tower."""


class PoolLooks:
    """Gives looks at a pool. Target texts are encoded once in each."""

    def __init__(
        self,
        encoder: TextEncoder,
        pool: pa.Table,
        tokens: Tokens,
        *,
        target_texts: list[str],
        target_tokens: Tokens,
        pair_scores: PairScores | None = None,
    ) -> None:
        """Take the encoder that is trained, the pool with its captions, and the target texts.

        `target_tokens` hold the texts in all of their templates, in the order of `prompts`.
        Pair scores stay those of their scorer, which is not trained.
        """
        self._encoder = encoder
        self._pool = pool
        self._tokens = tokens
        self._target_texts = target_texts
        self._target_tokens = target_tokens
        self._score_pairs = pair_scores.of if pair_scores else no_pair_scores
        self._latest: StandingEncoder | None = None
        self._num_encoded_before = 0

    def now(self) -> Look:
        """Look through the tower as it is; it may not be trained while the look is in use."""
        return self._look(self._encoder)

    def weights(self) -> dict[str, np.ndarray]:
        """Copy what a look depends on: the text trunk's weights."""
        return self._encoder.trunk_weights()

    def at(self, weights: Mapping[str, np.ndarray]) -> Look:
        """Look through the tower as it was with `weights`, whatever it is trained to since."""
        return self._look(self._encoder.with_trunk(weights))

    def num_encoded(self) -> int:
        """Captions that passed the tower so far."""
        return self._num_encoded_before + (self._latest.num_encoded if self._latest else 0)

    @cached_property
    def _captions(self) -> PoolCaptions:
        return PoolCaptions(self._tokens)

    def _look(self, encoder: TextEncoder) -> Look:
        self._num_encoded_before = self.num_encoded()
        standing = self._latest = StandingEncoder(encoder, self._captions)

        @cache
        def encode_targets() -> np.ndarray:
            features = encoder.features(self._target_tokens)
            return mean_of_prompts(features, num_classes=len(self._target_texts))

        return lambda rows: Candidates(
            rows=rows,
            pool=self._pool,
            target_texts=self._target_texts,
            encode_captions=standing.features,
            encode_targets=encode_targets,
            score_pairs=self._score_pairs,
        )
