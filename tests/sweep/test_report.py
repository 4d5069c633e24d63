import csv
import io

import numpy as np
from PIL import Image

from tests.sweep.results import failed, result
from vl_pipeline.sweep.figures import draw_sweep
from vl_pipeline.sweep.report import summary_metrics, write_csv, write_report
from vl_pipeline.sweep.table import rows_of


def report(results, *failures) -> str:
    settings = {"targets": ["food"], "reference": results[0]["strategy"], "split": "test"}
    return write_report(rows_of(results), failures, **settings)


def two_values(first: list[float], second: list[float]) -> list:
    """`cit` at 0.5 and at 0.9, by seed, with these final validation accuracies."""
    return [
        result("cit", value=value, seed=seed, accuracy=0.5, val=(0.0, val))
        for value, vals in ((0.5, first), (0.9, second))
        for seed, val in enumerate(vals)
    ]


def test_a_value_that_is_ahead_in_every_seed_is_said_to_be_ahead():
    text = report(two_values([0.20, 0.21, 0.19], [0.30, 0.32, 0.28]))

    assert "take 0.9 (30.0 % on val)" in text
    # gains 0.10, 0.11, 0.09: mean 10 points, standard error 1 / sqrt(3) = 0.6
    assert "Against 0.5: +10.0 ± 0.6 points" in text
    assert "ahead in 3): clearly ahead" in text


def test_values_within_the_noise_are_said_to_be_a_tie():
    text = report(two_values([0.2, 0.4], [0.4, 0.25]))

    assert "take 0.9 (32.5 % on val)" in text
    assert "ahead in 1): cannot be told apart" in text


def test_one_seed_settles_little():
    assert "in one seed, which settles little" in report(two_values([0.2], [0.4]))


def test_thresholds_that_relaxation_overrules_are_named():
    text = report(
        [result("cit", value=v, seed=0, accuracy=0.1, relaxed=9) for v in (0.98, 0.99)]
        + [result("cit", value=0.5, seed=0, accuracy=0.1)]
    )

    assert "`cit` at 0.98, 0.99: relaxation, not the threshold, kept most pairs" in text
    assert "(90.0 %, 90.0 %), so these values are indistinguishable by design" in text


def test_pairs_to_the_reference_are_read_from_validations():
    text = report(
        [
            result("clip", seed=0, accuracy=0.2, val=(0.1, 0.1, 0.1, 0.2)),
            result("cit", seed=0, accuracy=0.2, val=(0.25, 0.1, 0.1, 0.1)),
            result("random", seed=0, accuracy=0.1, val=(0.1, 0.1, 0.1, 0.1)),
        ]
    )

    assert "final accuracy of `clip` on `food` (20.0 % on val after 400 pairs)" in text
    assert "| cit | 100 | 25 % | 100 |" in text
    assert "| clip | 400 | 100 % | 400 |" in text
    assert "| random | not reached | | never |" in text


def test_a_cell_that_could_not_be_trained_is_named_with_its_reason():
    text = report(two_values([0.2], [0.3]), failed("cit", value=0.99, seed=4))

    assert "- `cit 0.99`, seed 4: kept 0 of 9" in text


def test_the_table_as_csv_has_the_numbers_of_the_rows():
    results = [result("cit", value=0.5, seed=s, accuracy=a) for s, a in enumerate((0.2, 0.4))]

    (row,) = csv.DictReader(io.StringIO(write_csv(rows_of(results))))

    assert (row["strategy"], row["value"], row["num_seeds"]) == ("cit", "0.5", "2")
    assert float(row["food_zero_shot_top1_mean"]) == 0.3
    assert round(float(row["food_zero_shot_top1_sd"]), 4) == 0.1414


def test_the_parents_metrics_are_those_of_the_value_that_validation_chooses():
    metrics = summary_metrics(rows_of(two_values([0.2, 0.2], [0.3, 0.3])), targets=["food"])

    assert metrics["chosen_cit"] == 0.9
    assert metrics["num_cells"] == 4
    assert metrics["food_cit_mean"] == 0.5


def test_without_a_val_split_no_value_is_chosen_and_a_single_one_is_reported():
    results = [result("cit", value=value, seed=0, accuracy=value) for value in (0.5, 0.9)]
    results.append(result("clip", seed=0, accuracy=0.3))
    for cell in results:
        cell["validation"] = []

    metrics = summary_metrics(rows_of(results), targets=["food"])

    assert metrics == {"num_cells": 3, "food_clip_mean": 0.3, "food_clip_sd": 0.0}
    assert "`cit`: no target has a val split" in report(results)


def test_figures_are_drawn_and_a_sweep_without_thresholds_has_only_the_pareto(tmp_path):
    varied, plain = tmp_path / "varied", tmp_path / "plain"
    varied.mkdir()
    plain.mkdir()

    draw_sweep(varied, rows_of(two_values([0.1, 0.2], [0.2, 0.3])), targets=["food"])
    draw_sweep(plain, rows_of([result("clip", seed=0, accuracy=0.1)]), targets=["food"])

    assert sorted(path.name for path in varied.iterdir()) == [
        "accuracy_against_threshold.png",
        "kept_against_threshold.png",
        "pareto.png",
    ]
    assert [path.name for path in plain.iterdir()] == ["pareto.png"]
    for path in varied.iterdir():
        with Image.open(path) as image:
            assert (np.asarray(image.convert("RGB")) < 128).any(axis=2).sum() > 200
