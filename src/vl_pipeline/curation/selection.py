"""What every curator is asked, and what it answers.

A curator sees a block of candidates and says for each whether it is kept, with a score and a
reason. It is asked in the same words before training, in rounds during training, and by tests;
where the captions' features come from (a file, or the tower being trained) is the candidates'
business and not the curator's.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Float64, Int32

from vl_pipeline.data.pool import Rows
from vl_pipeline.embedding.store import Embeddings, PairScores
from vl_pipeline.errors import CurationError

DROPPED = "dropped"
_ARRAYS = ("rows", "keep", "score", "nearest_target", "reason", "value")


def no_pair_scores(rows: Rows) -> Float32[np.ndarray, " n"]:
    """Refuse: nobody scored the pool's pairs.

    Raises:
        CurationError: Always.
    """
    raise CurationError(
        "the pool's pairs have no scores; a curator that reads pair_scores says so with "
        "`needs_pair_scores = True`, and the stage score makes them"
    )


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """A block of pool pairs that a curator may choose from.

    Attributes:
        rows: Pool rows of the block.
        pool: The whole pool's table; the block is `pool.take(rows)`.
        target_texts: The task's texts, in the order of their features.
        encode_captions: Gives unit-length features of the block's captions, when asked.
        encode_targets: Gives unit-length features of the target texts, when asked.
        score_pairs: Gives how well image and caption of the block's pairs agree, when asked.
        round_index: Number of the round of training in which they are looked at; 0 before training.
    """

    rows: Rows
    pool: pa.Table
    target_texts: Sequence[str]
    encode_captions: Callable[[Rows], Float32[np.ndarray, "n width"]]
    encode_targets: Callable[[], Float32[np.ndarray, "targets width"]]
    score_pairs: Callable[[Rows], Float32[np.ndarray, " n"]] = no_pair_scores
    round_index: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def uids(self) -> list[str]:
        """The block's uids."""
        return self.pool["uid"].take(self.rows).to_pylist()

    @cached_property
    def captions(self) -> list[str]:
        """The block's captions."""
        return self.pool["caption"].take(self.rows).to_pylist()

    @cached_property
    def caption_features(self) -> Float32[np.ndarray, "n width"]:
        """Unit-length features of the block's captions, in the order of `rows`."""
        return self.encode_captions(self.rows)

    @cached_property
    def target_features(self) -> Float32[np.ndarray, "targets width"]:
        """Unit-length features of the target texts."""
        return self.encode_targets()

    @cached_property
    def pair_scores(self) -> Float32[np.ndarray, " n"]:
        """Cosine similarity of each pair's image and caption under a scorer that stays as it is."""
        return self.score_pairs(self.rows)


def look_before_training(
    pool: pa.Table, embeddings: Embeddings, pair_scores: PairScores | None = None
) -> Callable[[Rows], Candidates]:
    """Give what turns pool rows into candidates with the features from before training."""
    return lambda rows: Candidates(
        rows=rows,
        pool=pool,
        target_texts=embeddings.target_texts,
        encode_captions=embeddings.captions_of,
        encode_targets=lambda: embeddings.targets,
        score_pairs=pair_scores.of if pair_scores else no_pair_scores,
    )


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A curator's answer for a block of n candidates, in their order.

    Attributes:
        rows: Pool rows of the block.
        keep: Whether the pair is kept.
        score: What the curator ranks by; NaN for curators that rank nothing.
        nearest_target: Index of the nearest target text, -1 for curators that compare with none.
        reason: Index into `reasons`: why the pair is kept, which rule dropped it, or `DROPPED`.
        reasons: Names of the reasons; the first is `DROPPED`.
        threshold: What a score had to exceed, for curators that have one.
        rules: Those of `reasons` that drop a pair, in their order, with what each accepts in words.
        value: What the rule that dropped the pair found in it; NaN where no rule dropped it.
    """

    rows: Rows
    keep: Bool[np.ndarray, " n"]
    score: Float32[np.ndarray, " n"]
    nearest_target: Int32[np.ndarray, " n"]
    reason: np.ndarray
    reasons: tuple[str, ...]
    threshold: float | None = None
    rules: Mapping[str, str] = field(default_factory=dict)
    value: Float64[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if len(self.value) != len(self.rows):
            object.__setattr__(self, "value", np.full(len(self.rows), np.nan))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: np.ndarray | slice) -> "Selection":
        """Take part of the block."""
        return dataclasses.replace(self, **{n: getattr(self, n)[places] for n in _ARRAYS})

    @property
    def kept(self) -> "Selection":
        """The part of the block that is kept."""
        return self[np.flatnonzero(self.keep)]

    def count_by_reason(self) -> dict[str, int]:
        """Count the block's pairs by reason; the counts add up to n."""
        counts = np.bincount(self.reason, minlength=len(self.reasons))
        return dict(zip(self.reasons, counts.tolist(), strict=True))


class Curator(Protocol):
    """A rule that says which candidates to keep. Its fields are its parameters.

    A rule that reads `Candidates.pair_scores` has the class attribute `needs_pair_scores = True`:
    the stage that makes them runs for methods with such a rule, and for no other.

    A rule that reads columns which were counted over the raw pool has the class attribute
    `needs_counts = True`: the stage `count` runs for methods with such a rule, and for no other.
    One that never reads `caption_features` may say `needs_caption_features = False`: a method with
    towers of its own then does not encode the pool before training.
    """

    @property
    def block_size(self) -> int | None:
        """Candidates per block where the answer depends on the block; None where it does not."""
        ...

    def calibrate(self, sample: Candidates) -> "Curator":
        """Settle what depends on the pool or the encoder, from a sample of candidates."""
        ...

    def select(self, candidates: Candidates) -> Selection:
        """Answer for each candidate."""
        ...


def needs_pair_scores(curator: type[Curator]) -> bool:
    """Whether a rule reads `Candidates.pair_scores`."""
    return getattr(curator, "needs_pair_scores", False)


def needs_counted_columns(curator: type[Curator]) -> bool:
    """Whether a rule reads columns that were counted over the raw pool."""
    return getattr(curator, "needs_counts", False)


def concatenate(parts: list[Selection]) -> Selection:
    """Join answers of one curator, in order.

    Raises:
        ValueError: If there are none, or they do not share their reasons.
    """
    if len({part.reasons for part in parts}) != 1:
        raise ValueError("selections of one curator are expected, and at least one")
    return dataclasses.replace(
        parts[0], **{n: np.concatenate([getattr(part, n) for part in parts]) for n in _ARRAYS}
    )


def unscored(rows: Rows, keep: Bool[np.ndarray, " n"], *, reason: str) -> Selection:
    """Answer without scores: `reason` for all that is kept."""
    return Selection(
        rows=rows,
        keep=keep,
        score=np.full(len(rows), np.nan, dtype=np.float32),
        nearest_target=np.full(len(rows), -1, dtype=np.int32),
        reason=keep.astype(np.int8),
        reasons=(DROPPED, reason),
    )


def named(rows: Rows, nearest_target: Int32[np.ndarray, " n"], *, reason: str) -> Selection:
    """Answer without scores, where what is kept is kept for a target text: `reason` for all of it.

    Args:
        rows: Pool rows of the block.
        nearest_target: The text each pair is kept for; -1 for pairs that are dropped.
        reason: What the text did for it.
    """
    selection = unscored(rows, nearest_target >= 0, reason=reason)
    return dataclasses.replace(selection, nearest_target=nearest_target)
