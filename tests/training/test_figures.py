import numpy as np
import pytest
from PIL import Image

from vl_pipeline.training.figures import draw_training_curves, draw_validation

HISTORY = [
    {
        "step": step,
        "pairs_seen": 32 * step,
        "loss_total": 4 / step,
        "temperature": 0.07,
        "learning_rate": 1e-4,
    }
    for step in (10, 20, 30)
]
ROUNDS = [
    {"step": 0, "keep_fraction": 0.2, "target_drift": 0.0, "status": "filled"},
    {"step": 15, "keep_fraction": 0.1, "target_drift": 0.1, "overlap_with_previous_round": 0.3},
]


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def is_drawn(path):
    """Tell a figure from an empty sheet."""
    return (read(path) < 128).any(axis=2).sum() > 200


def test_equal_input_gives_equal_bytes(tmp_path):
    draw_training_curves(HISTORY, ROUNDS, tmp_path / "first.png")
    draw_training_curves(HISTORY, ROUNDS, tmp_path / "second.png")

    assert is_drawn(tmp_path / "first.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_method_without_rounds_has_no_panels_for_them(tmp_path):
    draw_training_curves(HISTORY, ROUNDS, tmp_path / "with.png")
    draw_training_curves(HISTORY, [], tmp_path / "without.png")

    assert is_drawn(tmp_path / "without.png")
    assert read(tmp_path / "without.png").shape[0] < read(tmp_path / "with.png").shape[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rounds", [ROUNDS[:1], [{"step": 0}], [{"step": 0, "keep_fraction": 0.0}]])
def test_one_record_and_missing_quantities_are_drawn(rounds, tmp_path):
    draw_training_curves(HISTORY[:1], rounds, tmp_path / "a.png")

    assert is_drawn(tmp_path / "a.png")


def test_a_round_is_drawn_where_its_pairs_begin(tmp_path):
    late = [{**ROUNDS[0], "step": 30}]

    draw_training_curves(HISTORY, ROUNDS[:1], tmp_path / "early.png")
    draw_training_curves(HISTORY, late, tmp_path / "late.png")

    early, late = read(tmp_path / "early.png"), read(tmp_path / "late.png")
    assert early.shape == late.shape
    assert (early != late).any()


def test_an_empty_history_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="without records"):
        draw_training_curves([], [], tmp_path / "a.png")


def test_validation_is_drawn_with_a_line_for_each_task(tmp_path):
    records = [
        {
            "step": step,
            "pairs_seen": 32 * step,
            "food_zero_shot_top1": 0.01 * step,
            "food_zero_shot_top5": 0.02 * step,
            "photos_text_to_image_recall_at_5": 0.03,
        }
        for step in (5, 10)
    ]
    one_task = [{k: v for k, v in r.items() if not k.startswith("photos")} for r in records]

    draw_validation(records, tmp_path / "two.png")
    draw_validation(one_task, tmp_path / "one.png")

    assert is_drawn(tmp_path / "one.png")
    assert (read(tmp_path / "one.png") != read(tmp_path / "two.png")).any()
