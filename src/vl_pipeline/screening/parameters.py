"""What screening turns away beyond the rules about a pair alone; each rule is on or off."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.paths import OptionalInput

Bits = Annotated[int, Ge(0), Le(256)]
Similarity = Annotated[float, Gt(0), Le(1)]


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ImageEncoder:
    """An image tower that says what a picture shows.

    Attributes:
        name: A model of open_clip, or of this package's `models/configs`.
        pretrained: A tag of open_clip, or a path to weights; None for random weights, which see
            colours and layout and no more.
        batch_size: Images at once.
        num_threads: Threads that decode images.
    """

    name: Annotated[str, MinLen(1)]
    pretrained: str | None
    batch_size: Annotated[int, Ge(1)]
    num_threads: Annotated[int, Ge(1)]


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LeakGate:
    """When a pair is held to show, or say, what the evaluation tasks ask.

    Attributes:
        same_image: Equal bytes.
        max_hash_bits: Bits of the perceptual hash that may differ; None: not looked at.
        max_colour_difference: How far the colours of near hashes may differ.
        min_similarity: Cosine of image embeddings, where there is an encoder; None: not looked at.
        min_caption_characters: A retrieval task's caption of at least this length may not come
            again; None: not looked at.
    """

    same_image: bool
    max_hash_bits: Bits | None
    max_colour_difference: Annotated[float, Ge(0)]
    min_similarity: Similarity | None
    min_caption_characters: Annotated[int, Ge(1)] | None

    @property
    def is_on(self) -> bool:
        """Whether anything is looked at."""
        limits = (self.max_hash_bits, self.min_similarity, self.min_caption_characters)
        return self.same_image or any(limit is not None for limit in limits)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Duplicates:
    """When two pairs are held to show the same picture; the first one stays.

    Attributes:
        same_image: Equal bytes, whatever the captions.
        max_hash_bits: Bits of the perceptual hash that may differ; None: not looked at.
        max_colour_difference: How far the colours of near hashes may differ.
        min_similarity: Cosine of image embeddings, where there is an encoder; None: not looked at.
    """

    same_image: bool
    max_hash_bits: Bits | None
    max_colour_difference: Annotated[float, Ge(0)]
    min_similarity: Similarity | None


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Screening:
    """What is turned away, in this order: blocked pairs, leaks, duplicates.

    Attributes:
        block_list: A file of uids, image hashes and URLs that are not wanted.
        leaks: See `LeakGate`.
        duplicates: See `Duplicates`.
        encoder: None: pictures are compared by bytes and hashes alone.
        num_examples: Pairs of each rule that are kept as evidence.
    """

    block_list: OptionalInput
    leaks: LeakGate
    duplicates: Duplicates
    encoder: ImageEncoder | None
    num_examples: Annotated[int, Ge(0)]
