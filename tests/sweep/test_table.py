import pytest

from tests.sweep.results import failed, result
from vl_pipeline.errors import CurationError
from vl_pipeline.sweep.table import best_by_validation, rows_of


def test_a_row_holds_mean_and_sample_deviation_over_seeds():
    rows = rows_of([result("cit", seed=s, accuracy=a) for s, a in enumerate((0.2, 0.4, 0.6))])

    (row,) = rows
    assert row.evaluated("food").mean == pytest.approx(0.4)
    assert row.evaluated("food").deviation == pytest.approx(0.2)


def test_strategies_and_values_have_rows_of_their_own():
    rows = rows_of(
        [
            result("cit", value=value, seed=seed, accuracy=value + seed)
            for seed in (0, 1)
            for value in (0.5, 0.9)
        ]
        + [result("clip", seed=0, accuracy=0.3)]
    )

    assert [(row.label, len(row.results)) for row in rows] == [
        ("cit 0.5", 2),
        ("cit 0.9", 2),
        ("clip", 1),
    ]
    assert rows[1].threshold == 0.9
    assert rows[2].threshold is None


def test_the_best_value_is_chosen_by_validation_and_not_by_the_evaluated_split():
    rows = rows_of(
        [
            result("cit", value=0.5, seed=0, accuracy=0.9, val=(0.1, 0.2)),
            result("cit", value=0.9, seed=0, accuracy=0.1, val=(0.1, 0.3)),
        ]
    )

    assert best_by_validation(rows, ["food"]).value == 0.9


def test_first_reach_is_the_first_validation_at_the_goal_or_none():
    (row,) = rows_of(
        [
            result("cit", seed=0, accuracy=0, val=(0.1, 0.3, 0.2)),
            result("cit", seed=1, accuracy=0, val=(0.1, 0.1, 0.1)),
        ]
    )

    assert row.first_reach("food", 0.3) == [200, None]


def test_relaxed_share_counts_pairs_that_a_second_rule_let_pass():
    cell = result("cit_and_image_text", value=0.9, seed=0, accuracy=0.5)
    by_both = {"kept_by_threshold_and_agreement": 6, "kept_by_relaxation_and_agreement": 4}
    cell["rounds"] = [{"num_kept": 10, **by_both}]

    assert rows_of([cell])[0].relaxed_share.mean == pytest.approx(0.4)


def test_relaxed_share_counts_pairs_of_all_rounds():
    cell = result("cit", seed=0, accuracy=0)
    cell["rounds"] = [
        {"num_kept": 30, "kept_by_relaxation": 0},
        {"num_kept": 10, "kept_by_relaxation": 10},
    ]

    assert rows_of([cell])[0].relaxed_share.mean == pytest.approx(0.25)


def test_a_cell_that_failed_has_no_row_and_all_failed_is_an_error():
    bad = failed("cit", value=0.99, seed=0)

    assert [row.label for row in rows_of([bad, result("clip", seed=0, accuracy=0.1)])] == ["clip"]
    with pytest.raises(CurationError, match="no cell of the sweep could be trained: kept 0"):
        rows_of([bad])
