"""What is asked of a fabricated pool."""

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as parameters

Fraction = Annotated[float, Ge(0.0), Le(1.0)]


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FabricatedPool:
    """Size, noise and seed of a fabricated pool; every fraction is a share of the listed rows.

    `off_topic_fraction` says what the pictures show and the other fractions say what is wrong with
    a row, so an off-topic row can also be mismatched. At most one thing is wrong with a row.

    Attributes:
        num_pairs: Listed rows, failed downloads included.
        image_size_px: Width and height of every picture; near duplicates are cropped by up to 7 %.
        num_evaluation_images_per_class: Test images of each class of a task; `val` has half.
        off_topic_fraction: Shows no target class, but another class, a chart, text or a texture.
        mismatched_fraction: Carries the caption of a pair of another class.
        boilerplate_fraction: Carries a caption that describes no picture.
        duplicate_fraction: Has the bytes and the caption of another row.
        near_duplicate_fraction: Shows another row's picture, cropped and re-encoded.
        corrupt_fraction: Unreadable image, caption missing, or download failed.
        leaked_fraction: Shows a test image of the target task, re-encoded; always on topic.
        seed: Same parameters and seed, same bytes.
    """

    num_pairs: Annotated[int, Ge(100), Le(10_000_000)]
    image_size_px: Annotated[int, Ge(32), Le(512)]
    num_evaluation_images_per_class: Annotated[int, Ge(2), Le(10_000)]
    off_topic_fraction: Fraction
    mismatched_fraction: Fraction
    boilerplate_fraction: Fraction
    duplicate_fraction: Fraction
    near_duplicate_fraction: Fraction
    corrupt_fraction: Fraction
    leaked_fraction: Fraction
    seed: Annotated[int, Ge(0)]

    @model_validator(mode="after")
    def _leaves_intact_rows(self) -> "FabricatedPool":
        faulty_fraction = (
            self.mismatched_fraction
            + self.boilerplate_fraction
            + self.duplicate_fraction
            + self.near_duplicate_fraction
            + self.corrupt_fraction
            + self.leaked_fraction
        )
        if faulty_fraction > 0.8:
            raise ValueError(
                f"the fractions of faulty rows add up to {faulty_fraction:.3f}; duplicates and "
                "mismatched captions are taken from intact rows, so at most 0.8 may be faulty"
            )
        if self.off_topic_fraction + self.leaked_fraction > 1.0:
            raise ValueError(
                f"off_topic_fraction + leaked_fraction is "
                f"{self.off_topic_fraction + self.leaked_fraction:.3f}; leaked rows are on topic, "
                "so the sum is at most 1"
            )
        return self
