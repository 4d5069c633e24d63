"""What a curation did, as numbers, as a curve, and as figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vl_pipeline.curation.figures import (
    draw_hits_per_target,
    draw_kept_against_threshold,
    draw_kept_and_dropped,
    draw_rules,
    draw_score_histogram,
)
from vl_pipeline.curation.manifest import digest_of_manifest
from vl_pipeline.curation.selection import Selection
from vl_pipeline.curation.statistics import (
    hits_per_target,
    kept_against_threshold,
    selection_statistics,
)
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.views import evaluation_view

CURVE_THRESHOLDS = np.round(np.linspace(-1, 1, 201), 2)
_PICTURES = 24  # of kept and of dropped pairs each
_PICTURE_SIDE_PX = 96


def curation_report(
    selection: Selection, manifest: pa.Table, *, target_texts: list[str]
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Describe a curation of the whole pool.

    Returns:
        Statistics with the manifest's digest, and the share kept at each threshold (empty for
        curators that do not score, and for those that do not keep all that passes).
    """
    statistics = selection_statistics(selection, num_targets=len(target_texts))
    report = {"manifest_digest": digest_of_manifest(manifest), **statistics}
    if not _keeps_what_passes(selection):
        return report, []
    kept = kept_against_threshold(selection.score, CURVE_THRESHOLDS.tolist())
    curve = [
        {"threshold": float(threshold), "keep_fraction": share}
        for threshold, share in zip(CURVE_THRESHOLDS, kept, strict=True)
    ]
    return report, curve


def draw_curation(
    folder: Path,
    selection: Selection,
    *,
    pool: pa.Table,
    shards_folder: str | Path,
    target_texts: list[str],
) -> None:
    """Fill a folder with figures; curators that neither score nor have rules: the pictures.

    Hits of target texts are drawn for curators that compare with these.
    """
    if _is_scored(selection):
        score, threshold = selection.score, selection.threshold
        draw_score_histogram(score, threshold, folder / "score_histogram.png")
        if _keeps_what_passes(selection):
            draw_kept_against_threshold(score, threshold, folder / "kept_against_threshold.png")
        if (selection.kept.nearest_target >= 0).all():
            hits = hits_per_target(selection.kept, len(target_texts))
            draw_hits_per_target(hits, None, target_texts, folder / "hits_per_target.png")
    if selection.rules:
        counts = selection.count_by_reason()
        left = np.cumsum([len(selection), *(-counts[rule] for rule in selection.rules)]).tolist()
        names = [f"{rule.replace('_', ' ')}: {limit}" for rule, limit in selection.rules.items()]
        draw_rules(left, names, folder / "rules.png")
    images = PoolImages(pool, shards_folder)
    kept, dropped = (
        _pictures(part, pool, images)
        for part in (selection.kept, selection[np.flatnonzero(~selection.keep)])
    )
    draw_kept_and_dropped(kept, dropped, folder / "kept_and_dropped.png")


def _pictures(
    part: Selection, pool: pa.Table, images: PoolImages
) -> list[tuple[np.ndarray, str, float]]:
    """Pictures spread evenly over the scores, best first; over the pool where there are none."""
    order = np.argsort(-part.score, kind="stable") if _is_scored(part) else np.arange(len(part))
    places = np.unique(np.linspace(0, len(order) - 1, _PICTURES).astype(int)) if len(order) else []
    return [
        (
            evaluation_view(images.read(int(row)), side_px=_PICTURE_SIDE_PX),
            pool["caption"][int(row)].as_py(),
            float(score),
        )
        for row, score in ((part.rows[order[p]], part.score[order[p]]) for p in places)
    ]


def _is_scored(selection: Selection) -> bool:
    return len(selection) > 0 and not np.isnan(selection.score).any()


def _keeps_what_passes(selection: Selection) -> bool:
    """Whether another threshold would keep what it says: neither cap nor second rule drops any."""
    if not _is_scored(selection) or selection.threshold is None:
        return False
    return bool(selection.keep[selection.score > selection.threshold].all())
