"""What is measured on each pair from the columns of its row, without reading an image."""

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.data.pairs import PAIR_SCHEMA


def _shorter_side(pairs: pa.Table) -> pa.ChunkedArray:
    return pc.min_element_wise(pairs["width"], pairs["height"], skip_nulls=False)


def _longer_side(pairs: pa.Table) -> pa.ChunkedArray:
    return pc.max_element_wise(pairs["width"], pairs["height"], skip_nulls=False)


def _pixels(pairs: pa.Table) -> pa.ChunkedArray:
    return pc.multiply(pc.cast(pairs["width"], pa.int64()), pairs["height"])


MEASURES: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "caption_characters": lambda pairs: pc.utf8_length(pairs["caption"]),
    "caption_words": lambda pairs: pc.list_value_length(
        pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pairs["caption"]))
    ),
    "visible_characters": lambda pairs: pc.utf8_length(pc.utf8_trim_whitespace(pairs["caption"])),
    "shorter_side_px": _shorter_side,
    "longer_side_px": _longer_side,
    "aspect": lambda pairs: pc.divide(
        pc.cast(_longer_side(pairs), pa.float64()), _shorter_side(pairs)
    ),
    "pixels": _pixels,
    "bytes_per_pixel": lambda pairs: pc.divide(
        pc.cast(pairs["image_bytes"], pa.float64()), _pixels(pairs)
    ),
}
"""Name to measure; docs/validation.md says what each is."""


def with_measures(pairs: pa.Table, names: Iterable[str]) -> pa.Table:
    """Append those of `names` that are measures.

    What cannot be measured, because a column is missing or of the wrong type, is left out; what
    is expected of it then cannot be checked, and so fails.
    """
    for name in [name for name in MEASURES if name in set(names)]:
        try:
            pairs = pairs.append_column(name, MEASURES[name](pairs))
        except (KeyError, pa.ArrowException):
            continue
    return pairs


def names_of_columns() -> list[str]:
    """Everything that can be expected of a pair is about one of these."""
    return [*PAIR_SCHEMA.names, *MEASURES]
