"""A shard and its side files as img2dataset 1.47 writes them, but the same each time.

After img2dataset/writer.py (members, side table) and img2dataset/logger.py (counts), checked
against shards that it wrote. Times and durations are fixed numbers.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vl_pipeline.data.archives import open_archive
from vl_pipeline.data.fabricated.pairs import (
    damage_bytes,
    encode_row_image,
    row_caption,
    row_image,
)
from vl_pipeline.data.fabricated.randomness import generator, pick
from vl_pipeline.data.fabricated.rows import NEVER_ARRIVED, Row

_SIDE_SCHEMA = pa.schema(
    [
        ("caption", pa.string()),
        ("url", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),
    ]
)
_ERROR_MESSAGES = {
    "failed_to_download": "HTTP Error 404: Not Found",
    "failed_to_resize": "Image decoding error",
}
_HOSTS = ("images", "cdn.shop", "blog", "gallery", "static.museum", "forum", "photos", "wiki")
_START_TIME = 1_700_000_000.0


def write_shard(folder: Path, rows: list[Row], *, image_size_px: int) -> None:
    """Write one shard's archive, side table and counts; failed downloads are in the table only."""
    name = rows[0].shard
    side_rows = []
    with open_archive(folder / f"{name}.tar") as archive:
        for row in rows:
            if row.corruption in NEVER_ARRIVED:
                side_rows.append(_failed_row(row))
                continue
            image = row_image(row, image_size_px=image_size_px)
            data = encode_row_image(row, image)
            side_row = _downloaded_row(row, data, *image.size)
            archive.write(_members(row, damage_bytes(row, data), side_row))
            side_rows.append(side_row)
    table = pa.Table.from_pylist(side_rows, schema=_SIDE_SCHEMA)
    pq.write_table(table, folder / f"{name}.parquet", row_group_size=100)
    (folder / f"{name}_stats.json").write_text(json.dumps(_counts(side_rows), indent=4))


def _members(row: Row, data: bytes, side_row: dict[str, Any]) -> dict[str, Any]:
    members = {"__key__": row.key, "jpg": data, "json": json.dumps(side_row, indent=4).encode()}
    if row.corruption != "missing_caption":
        members["txt"] = (side_row["caption"] or "").encode()
    return members


def _downloaded_row(row: Row, data: bytes, width: int, height: int) -> dict[str, Any]:
    # Of the original, which img2dataset does not keep: never the hash of the stored bytes.
    digest = hashlib.sha256(b"original of " + data).digest()
    reduction = 1 + digest[0] / 24  # as good as random, and equal for exact duplicates
    return _listed(row, status="success", error_message=None) | {
        "width": width,
        "height": height,
        "original_width": round(width * reduction),
        "original_height": round(height * reduction),
        "sha256": digest.hex(),
    }


def _failed_row(row: Row) -> dict[str, Any]:
    status = str(row.corruption)
    absent = ("width", "height", "original_width", "original_height", "sha256")
    listed = _listed(row, status=status, error_message=_ERROR_MESSAGES[status])
    return listed | dict.fromkeys(absent)


def _listed(row: Row, *, status: str, error_message: str | None) -> dict[str, Any]:
    rng = generator(row.picture.seed, "url", row.index)
    number = int(rng.integers(10**9))
    return {
        "caption": row_caption(row),
        "url": f"https://{pick(rng, _HOSTS)}.example/{number % 97}/{number}.jpg",
        "key": row.key,
        "status": status,
        "error_message": error_message,
    }


def _counts(side_rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_status = Counter(side_row["status"] for side_row in side_rows)
    by_message = Counter(side_row["error_message"] or "success" for side_row in side_rows)
    return {
        "count": len(side_rows),
        "successes": by_status["success"],
        "failed_to_download": by_status["failed_to_download"],
        "failed_to_resize": by_status["failed_to_resize"],
        "duration": 1.0,
        "start_time": _START_TIME,
        "end_time": _START_TIME + 1.0,
        "status_dict": dict(by_message.most_common()),
    }
