"""The pairs of a Parquet or Arrow file with pictures in it: one row, one picture, its captions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vl_pipeline.data.ledger import Rejection
from vl_pipeline.data.pairs import PairLimits, UnusablePairError
from vl_pipeline.data.sources.columns import Columns, NamedColumns, choose_columns
from vl_pipeline.data.sources.index import ShardIndex, index_of, rejection_of
from vl_pipeline.data.sources.loose import captions_in, pair_of
from vl_pipeline.data.sources.pictures import (
    DamagedTableError,
    picture_columns,
    read_schema,
)
from vl_pipeline.data.sources.plain import PlacedRow, place_pictures, placing


def index_pictured_table(
    source: Path, name: str, *, place: Path, named: NamedColumns, limits: PairLimits
) -> ShardIndex:
    """Read a file from start to end, and write its plain form, where its pictures lie.

    A file that is damaged is one row of the ledger without a key, and the rows before the damage
    are used.

    Args:
        source: The file.
        name: How it is called in the pool and the ledger.
        place: Of its plain form.
        named: Columns the user named.
        limits: What reading it may cost.

    Raises:
        ShardError: If a column for picture or caption is missing.
    """
    pairs: list[dict[str, object]] = []
    rejections: list[Rejection] = []
    num_listed = 0
    try:
        schema = read_schema(source)
        columns = choose_columns(schema.names, picture_columns(schema), named, place=name)
        values = [columns.caption, *([columns.url] if columns.url else [])]
        with placing(place) as target:
            for placed in place_pictures(
                source, target, values=values, max_bytes=limits.max_plain_bytes
            ):
                for key, text in _captions_of(placed, columns):
                    num_listed += 1
                    try:
                        pairs.append(_pair(placed, name, key, text, columns, limits))
                    except UnusablePairError as found:
                        rejections.append(rejection_of(found, shard=name, key=key))
    except DamagedTableError as error:
        num_listed += 1
        rejections.append(damaged_table(name, error))
    return index_of(pairs, rejections, num_listed=num_listed)


def damaged_table(name: str, error: Exception) -> Rejection:
    """Charge a table itself."""
    return Rejection(
        shard=name, key="", rule="broken_table", value=str(error)[:300], limit="a whole table"
    )


def _captions_of(placed: PlacedRow, columns: Columns) -> Iterator[tuple[str, bytes | None]]:
    return captions_in(placed.row.values[columns.caption], key=f"{placed.row.number:09d}")


def _pair(
    placed: PlacedRow,
    name: str,
    key: str,
    text: bytes | None,
    columns: Columns,
    limits: PairLimits,
) -> dict[str, Any]:
    pictures = placed.row.pictures[columns.image]
    if len(pictures) != 1:
        rule = "several_images" if pictures else "missing_image"
        raise UnusablePairError(rule, value=str(len(pictures)), limit="one image")
    url = placed.row.values[columns.url] if columns.url else None
    row = pair_of(
        pictures[0], name, key, text=text, url=url if isinstance(url, bytes) else None,
        limits=limits,
    )  # fmt: skip
    return row | {"image_offset": placed.offsets[columns.image][0]}
