import dataclasses

import numpy as np
import pytest

from tests.fakes import candidates, sign_vectors
from vl_pipeline.curation.manifest import manifest_of
from vl_pipeline.curation.report import curation_report
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode

CLOSE = TargetSimilarity(
    threshold=0.2, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.0, block_size=8
)


@pytest.mark.parametrize(("cap", "num_points"), [(None, 201), (100, 201), (2, 0)])
def test_a_curve_is_given_where_all_that_passes_a_threshold_is_kept(cap, num_points):
    targets = sign_vectors([0, 255])
    block = candidates(np.repeat(targets, 5, axis=0), targets)
    rule = dataclasses.replace(CLOSE, max_per_text=cap).calibrate(block)
    selection = rule.select(block)
    texts = block.target_texts
    manifest = manifest_of(selection, pool=block.pool, target_texts=texts, round_index=0)

    report, curve = curation_report(selection, manifest, target_texts=texts)

    assert len(curve) == num_points
    assert report["num_kept"] == 2 * min(5, cap or 5)
