"""What screening shows: pairs turned away beside what they resemble, and images that often stay."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from vl_pipeline.data.images import decode_rgb
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.screening.evaluation_images import TaskImages
from vl_pipeline.screening.finding import Finding

EVIDENCE_SCHEMA = pa.schema(
    [
        ("rule", pa.string()),  # as in the ledger
        ("uid", pa.string()),
        ("caption", pa.string()),
        ("thumbnail", pa.binary()),  # JPEG
        ("matched_to", pa.string()),  # uid of the pair that stayed, or task/split/number
        ("matched_caption", pa.string()),  # null where there is none
        ("matched_thumbnail", pa.binary()),  # JPEG
        ("distance", pa.float64()),  # by the rule's own measure; 0 is equal
        ("unit", pa.string()),  # what it is in; null where it says nothing
    ]
)
"""One row per example; a few of each rule, not all.

Of `REPEATED`, `matched_to` is the hash of an image that several pairs have, and `uid` the first.
"""

REPEATED = "repeated_image"
"""In the place of a rule: images that most of the pairs that stay have. Nothing was charged."""

NUM_REPEATED = 10

_SIDE_PX = 96  # of a thumbnail, longer side
_QUALITY = 85  # JPEG


def draw_evidence(
    finding: Finding,
    pairs: pa.Table,
    *,
    images: PoolImages,
    tasks: TaskImages,
    num_examples: int,
) -> pa.Table:
    """Show the pairs that are furthest from what they were held to resemble, and so most in doubt.

    Args:
        finding: What a rule turned away.
        pairs: The table whose rows the finding names, with what stayed.
        images: The images of `pairs`, by row.
        tasks: The images of the tasks.
        num_examples: Rows of the answer, or fewer where less was turned away.
    """
    doubtful = np.argsort(-finding.distance, kind="stable")[:num_examples]
    matches = [finding.matched_to[place] for place in doubtful]
    stayed = pc.index_in(
        pa.array(matches, pa.string()), value_set=pairs["uid"].combine_chunks()
    ).to_pylist()
    examples = []
    for place, match, row_of_match in zip(doubtful, matches, stayed, strict=True):
        row = int(finding.rows[place])
        caption, image = _matched(match, row_of_match, pairs, images, tasks)
        examples.append(
            {
                "rule": finding.rule,
                "uid": pairs["uid"][row].as_py(),
                "caption": pairs["caption"][row].as_py(),
                "thumbnail": _thumbnail(images.read(row)),
                "matched_to": match,
                "matched_caption": caption,
                "matched_thumbnail": None if image is None else _thumbnail(image),
                "distance": float(finding.distance[place]),
                "unit": finding.unit,
            }
        )
    return pa.Table.from_pylist(examples, schema=EVIDENCE_SCHEMA)


def draw_repeated(pairs: pa.Table, *, images: PoolImages, num_examples: int) -> pa.Table:
    """Show the images that most pairs have.

    Args:
        pairs: Those that stay.
        images: Their images, by row.
        num_examples: Rows of the answer, or fewer where fewer are repeated.
    """
    examples = []
    for found in most_repeated(pairs["image_hash"]).slice(0, num_examples).to_pylist():
        row = pc.index(pairs["image_hash"], found["values"]).as_py()
        examples.append(
            {
                "rule": REPEATED,
                "uid": pairs["uid"][row].as_py(),
                "caption": pairs["caption"][row].as_py(),
                "thumbnail": _thumbnail(images.read(row)),
                "matched_to": found["values"],
            }
        )
    return pa.Table.from_pylist(examples, schema=EVIDENCE_SCHEMA)


def most_repeated(values: pa.ChunkedArray) -> pa.Table:
    """Give the `NUM_REPEATED` values that come most often, at least twice, and their `counts`."""
    counts = pa.Table.from_struct_array(pc.value_counts(values.drop_null()))
    repeated = counts.filter(pc.greater(counts["counts"], 1))
    order = [("counts", "descending"), ("values", "ascending")]
    return repeated.sort_by(order).slice(0, NUM_REPEATED)


def _matched(
    match: str, row: int | None, pairs: pa.Table, images: PoolImages, tasks: TaskImages
) -> tuple[str | None, bytes | None]:
    """Caption and image of a pair that stayed or of an evaluation image; None for an entry."""
    if row is not None:
        return pairs["caption"][row].as_py(), images.read(row)
    if tasks.has(match):
        return tasks.caption(match), tasks.image(match)
    return None, None


def _thumbnail(data: bytes) -> bytes:
    image = Image.fromarray(decode_rgb(data, min_side_px=_SIDE_PX))
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
