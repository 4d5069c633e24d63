import numpy as np
import pytest
from PIL import Image

from vl_pipeline.evaluation.figures import draw_confusion


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def is_drawn(path):
    """Tell a figure from an empty sheet."""
    return (read(path) < 128).any(axis=2).sum() > 200


def test_equal_input_gives_equal_bytes(tmp_path):
    confusion = np.array([[3, 1], [0, 2]])

    draw_confusion(confusion, ["cat", "dog"], tmp_path / "first.png")
    draw_confusion(confusion, ["cat", "dog"], tmp_path / "second.png")

    assert is_drawn(tmp_path / "first.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_rows_are_shares_so_the_number_of_images_does_not_show(tmp_path):
    confusion = np.array([[3, 1], [0, 2]])

    draw_confusion(confusion, ["cat", "dog"], tmp_path / "few.png")
    draw_confusion(confusion * [[7], [50]], ["cat", "dog"], tmp_path / "many.png")

    assert (tmp_path / "few.png").read_bytes() == (tmp_path / "many.png").read_bytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_classes", [1, 16, 60, 200])
def test_any_number_of_classes_and_empty_ones_are_drawn(num_classes, tmp_path):
    confusion = np.diag(np.arange(num_classes))  # class 0 has no image

    draw_confusion(confusion, ["$a_{b 猫"] * num_classes, tmp_path / "a.png")

    assert is_drawn(tmp_path / "a.png")
