"""The curated set on paper: one row per pair and round in which it was kept."""

from collections import Counter

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from vl_pipeline.curation.selection import Selection
from vl_pipeline.data.digest import digest_of_strings

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
    targets = np.array([*target_texts, None], dtype=object)
    return pa.table(
        {
            "uid": pool["uid"].take(kept.rows),
            "score": pa.array(kept.score, mask=np.isnan(kept.score)),
            "nearest_target": pa.array(targets[kept.nearest_target], pa.string()),
            "round": np.full(len(kept), round_index, dtype=np.int32),
            "accepted_by": pa.array([kept.reasons[r] for r in kept.reason], pa.string()),
        },
        schema=MANIFEST_SCHEMA,
    )


def count_hits(manifest: pa.Table, target_texts: list[str]) -> Int64[np.ndarray, " targets"]:
    """Count, for each target text, the pairs of a manifest that are nearest to it."""
    counts = Counter(manifest["nearest_target"].to_pylist())
    return np.array([counts[text] for text in target_texts], dtype=np.int64)


def digest_of_manifest(manifest: pa.Table) -> str:
    """The curated set's identity: its uids in order, with their rounds."""
    rounds = manifest["round"].to_pylist()
    uids = manifest["uid"].to_pylist()
    return digest_of_strings(f"{r}:{uid}" for r, uid in zip(rounds, uids, strict=True))
