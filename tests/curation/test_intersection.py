import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import candidates, captioned, sign_vectors
from vl_pipeline.curation.column_rules import ColumnRules
from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.curation.intersection import Intersection, intersection_of
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.named_in_caption import NamedInCaption
from vl_pipeline.curation.random_subset import RandomSubset
from vl_pipeline.curation.selection import needs_counted_columns, needs_pair_scores
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.errors import ParameterError

TARGETS = sign_vectors([0])
AGREES = ImageTextAgreement(keep_fraction=0.5)


def close(*, threshold: float = 0.8, block_size: int = 10, min_keep_fraction: float = 0.0):
    return TargetSimilarity(
        threshold=threshold,
        threshold_mode=ThresholdMode.ABSOLUTE,
        min_keep_fraction=min_keep_fraction,
        block_size=block_size,
    )


def block_of(numbers, scores):
    known = np.array(scores, dtype=np.float32)
    block = candidates(sign_vectors(numbers), TARGETS)
    return dataclasses.replace(block, score_pairs=lambda rows: known[rows])


def test_a_pair_is_kept_if_both_keep_it_and_its_reason_names_both():
    block = block_of([0, 0, 0b111, 0b111], [0.9, 0.1, 0.8, 0.0])

    selection = Intersection(first=close(), second=AGREES).select(block)

    assert selection.keep.tolist() == [True, False, False, False]
    assert selection.count_by_reason() == {
        "dropped": 3,
        "threshold_and_agreement": 1,
        "relaxation_and_agreement": 0,
    }


def test_reasons_of_both_rules_are_told_apart():
    rule = close(threshold=0.9, min_keep_fraction=0.75)  # one passes, two more are relaxed
    block = block_of([0, 0b1, 0b11, 0b111], [0.0] * 4)

    forwards = Intersection(first=rule, second=KeepAll()).select(block)
    backwards = Intersection(first=KeepAll(), second=rule).select(block)

    names = [forwards.reasons[number] for number in forwards.reason]
    assert names == ["threshold_and_all", "relaxation_and_all", "relaxation_and_all", "dropped"]
    names = [backwards.reasons[number] for number in backwards.reason]
    assert names == ["all_and_threshold", "all_and_relaxation", "all_and_relaxation", "dropped"]


def test_score_threshold_and_nearest_target_are_the_first_rules_where_it_has_them():
    block = block_of([0, 0b1], [0.9, 0.1])

    selection = Intersection(first=close(), second=AGREES).select(block)

    assert selection.score.tolist() == [1.0, 0.875]
    assert selection.threshold == 0.8
    assert selection.nearest_target.tolist() == [0, 0]


def test_score_and_threshold_are_the_second_rules_where_the_first_ranks_nothing():
    block = captioned(["a red apple", "a pear", "one apple"], ["apple"])
    known = np.array([0.9, 0.5, 0.1], dtype=np.float32)
    block = dataclasses.replace(block, score_pairs=lambda rows: known[rows])

    selection = Intersection(first=NamedInCaption(), second=AGREES).select(block)

    assert selection.keep.tolist() == [True, False, False]
    assert selection.score.tolist() == known.tolist()
    assert selection.threshold == pytest.approx(0.5)
    assert selection.nearest_target.tolist() == [0, -1, 0]


@given(
    st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(-8, 8)), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_the_kept_set_is_the_intersection_whichever_comes_first(pairs, threshold):
    block = block_of([n for n, _ in pairs], [s / 8 for _, s in pairs])
    rule = close(threshold=threshold, block_size=100)

    both = set(rule.select(block).kept.rows) & set(AGREES.select(block).kept.rows)

    for one, other in ((rule, AGREES), (AGREES, rule)):
        selection = Intersection(first=one, second=other).calibrate(block).select(block)
        assert both == set(selection.kept.rows)
        assert sum(selection.count_by_reason().values()) == len(block)


def test_both_are_calibrated():
    block = block_of([0, 0b1, 0b11, 0b111], [0.1, 0.2, 0.3, 0.4])
    quantile = dataclasses.replace(close(), threshold=0.5, threshold_mode=ThresholdMode.QUANTILE)

    calibrated = Intersection(first=quantile, second=AGREES).calibrate(block)

    assert calibrated.first.threshold_mode is ThresholdMode.ABSOLUTE
    assert calibrated.second == AGREES.calibrate(block)


def test_the_block_size_is_that_of_the_rule_that_has_one():
    assert Intersection(first=close(), second=AGREES).block_size == 10
    assert Intersection(first=AGREES, second=close()).block_size == 10
    assert Intersection(first=AGREES, second=KeepAll()).block_size is None


def test_two_block_sizes_are_refused():
    with pytest.raises(ParameterError, match=r"first.block_size is 10 and second.block_size is 5"):
        Intersection(first=close(), second=close(block_size=5))


def test_empty_block_is_answered():
    block = dataclasses.replace(block_of([0], [0.0]), rows=np.arange(0))

    assert len(Intersection(first=close(), second=AGREES).select(block)) == 0


def test_parameters_of_each_side_are_those_of_its_rule():
    rule = intersection_of(RandomSubset, ImageTextAgreement)

    both = rule(first={"keep_fraction": 0.5, "seed": 1}, second={"keep_fraction": 0.2})

    assert both.first == RandomSubset(keep_fraction=0.5, seed=1)
    assert both.second == ImageTextAgreement(keep_fraction=0.2)
    with pytest.raises(ValidationError, match=r"second.keep_fraction"):
        rule(first={"keep_fraction": 0.5, "seed": 1}, second={"keep_fraction": 1.2})


def test_an_intersection_needs_pair_scores_if_either_rule_does():
    assert needs_pair_scores(intersection_of(KeepAll, ImageTextAgreement))
    assert needs_pair_scores(intersection_of(ImageTextAgreement, KeepAll))
    assert not needs_pair_scores(intersection_of(KeepAll, NamedInCaption))


@pytest.mark.parametrize("rules", [(KeepAll, ColumnRules), (ColumnRules, KeepAll)])
def test_a_rule_that_needs_counted_columns_says_so_from_within_an_intersection(rules):
    assert needs_counted_columns(intersection_of(*rules))
    assert not needs_counted_columns(intersection_of(KeepAll, RandomSubset))
