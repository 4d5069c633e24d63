"""The curated set on paper: one row per pair and round in which it was kept."""

from collections import Counter

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from vl_pipeline.curation.selection import Selection
from vl_pipeline.data.digest import digest_of_strings
from vl_pipeline.data.pool import strings_of

MANIFEST_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("score", pa.float32()),  # null for curators that rank nothing
        ("nearest_target", pa.string()),  # null for curators that compare with none
        ("round", pa.int32()),
        ("accepted_by", pa.string()),  # the curator's reason
    ]
)


def manifest_of(
    selection: Selection, *, pool: pa.Table, target_texts: list[str], round_index: int
) -> pa.Table:
    """Write down what a selection keeps, in the order in which it was kept."""
    kept = selection.kept
    nearest = pa.array(kept.nearest_target, mask=kept.nearest_target < 0)
    return pa.table(
        {
            "uid": pool["uid"].take(kept.rows),
            "score": pa.array(kept.score, mask=np.isnan(kept.score)),
            "nearest_target": pa.array(target_texts, pa.string()).take(nearest),
            "round": np.full(len(kept), round_index, dtype=np.int32),
            "accepted_by": pa.array(kept.reasons).take(pa.array(kept.reason)),
        },
        schema=MANIFEST_SCHEMA,
    )


def count_hits(manifest: pa.Table, target_texts: list[str]) -> Int64[np.ndarray, " targets"]:
    """Count, for each target text, the pairs of a manifest that are nearest to it."""
    counts = Counter(strings_of(manifest["nearest_target"]))
    return np.array([counts[text] for text in target_texts], dtype=np.int64)


def digest_of_manifest(manifest: pa.Table) -> str:
    """The curated set's identity: its uids in order, with their rounds."""
    rounds = manifest["round"].to_numpy()
    uids = strings_of(manifest["uid"])
    return digest_of_strings(f"{r}:{uid}" for r, uid in zip(rounds, uids, strict=True))
