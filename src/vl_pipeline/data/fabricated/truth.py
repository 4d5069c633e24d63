"""What is true of each listed row: for tests and reports. No stage of the pipeline reads it."""

from typing import Any

import pyarrow as pa

from vl_pipeline.data.fabricated.evaluation_tasks import evaluation_key
from vl_pipeline.data.fabricated.pairs import row_caption
from vl_pipeline.data.fabricated.pictures import caption
from vl_pipeline.data.fabricated.rows import NEVER_ARRIVED, UNREADABLE, Row, key_of

TRUTH_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("status", pa.string()),
        ("caption", pa.string()),
        ("original_caption", pa.string()),  # written for this picture
        ("class_name", pa.string()),  # of the picture meant; null for charts, text and textures
        ("relevant", pa.bool_()),  # a readable image that shows a target class
        ("caption_matches_image", pa.bool_()),
        ("noise", pa.string()),
        ("corruption", pa.string()),  # how the row is corrupt, or why it never arrived
        ("duplicate_of", pa.string()),  # key of the row it repeats
        ("leak_of", pa.string()),  # task/split/key of the test image it shows
    ]
)
_MATCHING = (None, "exact_duplicate", "near_duplicate", "leaked", "corrupt")


def true_row(row: Row) -> dict[str, Any]:
    """The truth about one row, by column."""
    text = row_caption(row)
    never_arrived = row.corruption in NEVER_ARRIVED
    readable = not never_arrived and row.corruption not in UNREADABLE
    return {
        "key": row.key,
        "shard": row.shard,
        "status": row.corruption if never_arrived else "success",
        "caption": text,
        "original_caption": caption(row.picture),
        "class_name": row.picture.class_name,
        "relevant": row.on_topic and readable,
        "caption_matches_image": row.fault in _MATCHING and readable and bool(text),
        "noise": _noise(row),
        "corruption": row.corruption,
        "duplicate_of": None if row.duplicate_of is None else key_of(row.duplicate_of),
        "leak_of": (
            f"{row.picture.purpose}/{evaluation_key(row.picture)}"
            if row.fault == "leaked"
            else None
        ),
    }


def _noise(row: Row) -> str:
    """The row's fault; of a row without one, whether it is on topic."""
    if row.corruption in NEVER_ARRIVED:
        return "failed_download"
    if row.fault is not None:
        return row.fault
    return "natural" if row.on_topic else "off_topic"
