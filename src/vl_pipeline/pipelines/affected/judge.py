"""The verdict on each checkpoint. What is not on record is no acquittal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from vl_pipeline.data.pair_lists import PairList
from vl_pipeline.datasets.tracked_runs import TrackedCheckpoint

AFFECTED, UNKNOWN, CLEAN = "affected", "cannot be judged", "not affected"

_NUM_SHOWN = 5  # uids


def judge(checkpoints: Iterable[TrackedCheckpoint], listed: PairList) -> dict[str, Any]:
    """Judge every checkpoint; those that are affected come first, those that are not last."""
    verdicts = [_verdict(checkpoint, listed) for checkpoint in checkpoints]
    order = {AFFECTED: 0, UNKNOWN: 1, CLEAN: 2}
    verdicts.sort(key=lambda v: (order[v["verdict"]], -v["num_affected_pairs"]))
    return {
        "num_listed": {
            "uid": len(listed.uids),
            "image_hash": len(listed.image_hashes),
            "url": len(listed.urls),
        },
        "num_checkpoints": {
            verdict: sum(v["verdict"] == verdict for v in verdicts) for verdict in order
        },
        "checkpoints": verdicts,
    }


def render(report: dict[str, Any]) -> str:
    """Draw the report for people."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report["num_checkpoints"].items())
    lines = [f"checkpoints on record: {counts}"]
    for verdict in report["checkpoints"]:
        lines.append(
            f"{verdict['verdict']:<17} {verdict['run_name']:<22} {verdict['run_id']}  "
            f"{verdict['path']} ({verdict['weights_digest'] or 'no digest'})"
        )
        if verdict["verdict"] == AFFECTED:
            shown = ", ".join(verdict["first_uids"])
            lines.append(f"{'':<17} {verdict['num_affected_pairs']} pairs, the first: {shown}")
        if verdict["verdict"] == UNKNOWN:
            lines.append(f"{'':<17} {verdict['why']}")
    return "\n".join(lines)


def _verdict(checkpoint: TrackedCheckpoint, listed: PairList) -> dict[str, Any]:
    uids: list[str] = []
    if checkpoint.pairs is not None:
        uids = sorted(
            pc.unique(checkpoint.pairs.filter(listed.holds(checkpoint.pairs))["uid"]).to_pylist()
        )
    known = CLEAN if checkpoint.pairs is not None else UNKNOWN
    return {
        "verdict": AFFECTED if uids else known,
        "why": checkpoint.why_unknown,
        "run_id": checkpoint.run_id,
        "run_name": checkpoint.run_name,
        "experiment": checkpoint.experiment,
        "method": checkpoint.method,
        "path": checkpoint.path,
        "path_exists": bool(checkpoint.path) and Path(checkpoint.path).exists(),
        "weights_digest": checkpoint.weights_digest,
        "num_affected_pairs": len(uids),
        "first_uids": uids[:_NUM_SHOWN],
    }
