import numpy as np
import pytest
from PIL import Image

from vl_pipeline.curation.figures import (
    draw_hits_per_target,
    draw_kept_against_threshold,
    draw_kept_and_dropped,
    draw_rules,
    draw_score_histogram,
)

HOSTILE = [
    "$x^{2 \\frac{$ is no formula",
    "two\nlines\r\n\tand \x00\x07 control characters",
    "مرحبا بالعالم",
    "\u202ereversed\u202c",
    "😀 🎉 👩‍👩‍👧",
    "日本語のキャプション" * 20,
    "word " * 500,
    "x" * 5000,
    "\ud800 lone surrogate",
    "",
    "{c} %s <b>&amp;</b>",
]
SCORE = np.random.default_rng(0).normal(0.4, 0.1, 500).astype(np.float32)


def read(path):
    with Image.open(path) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


def is_drawn(path):
    """Tell a figure from an empty sheet."""
    return (read(path) < 128).any(axis=2).sum() > 200


def pairs(captions, *, score=0.5):
    shapes = [(8, 8, 3), (4, 40, 3), (40, 1, 3)]
    random = np.random.default_rng(0)
    return [
        (random.integers(0, 255, shapes[i % 3], dtype=np.uint8), caption, score)
        for i, caption in enumerate(captions)
    ]


DRAWINGS = {
    "score_histogram": lambda path: draw_score_histogram(SCORE, 0.5, path),
    "kept_against_threshold": lambda path: draw_kept_against_threshold(SCORE, 0.5, path),
    "hits_per_target": lambda path: draw_hits_per_target(
        np.arange(3), np.array([0, 1, 1]), ["cat", "dog", "owl"], path
    ),
    "rules": lambda path: draw_rules([9, 5, 0], ["too small: > 200", "aspect: < 3"], path),
    "kept_and_dropped": lambda path: draw_kept_and_dropped(pairs(["a"]), pairs(["b"]), path),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS.keys())
def test_equal_input_gives_equal_bytes(draw, tmp_path):
    draw(tmp_path / "first.png")
    draw(tmp_path / "second.png")

    assert is_drawn(tmp_path / "first.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_readers_matplotlib_settings_play_no_part(tmp_path):
    import matplotlib

    DRAWINGS["hits_per_target"](tmp_path / "plain.png")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        DRAWINGS["hits_per_target"](tmp_path / "red.png")

        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "red.png").read_bytes()


@pytest.mark.filterwarnings("error")
def test_hostile_captions_are_drawn(tmp_path):
    draw_kept_and_dropped(pairs(HOSTILE), pairs(HOSTILE, score=float("nan")), tmp_path / "a.png")
    draw_hits_per_target(np.arange(len(HOSTILE)), None, HOSTILE, tmp_path / "b.png")

    assert is_drawn(tmp_path / "a.png")
    assert is_drawn(tmp_path / "b.png")


def test_a_long_caption_stays_in_its_cell(tmp_path):
    draw_kept_and_dropped(pairs(["W" * 5000]), [], tmp_path / "wide.png")
    picture = read(tmp_path / "wide.png")

    beyond = picture[:, picture.shape[1] // 8 + 2 :]
    assert (beyond == 255).all()


@pytest.mark.filterwarnings("error")
def test_nothing_dropped_is_said(tmp_path):
    draw_kept_and_dropped([], [], tmp_path / "none.png")

    assert is_drawn(tmp_path / "none.png")


@pytest.mark.parametrize("draw", [draw_score_histogram, draw_kept_against_threshold])
@pytest.mark.parametrize("threshold", [None, 0.3, -1.0, 1.0])
def test_equal_scores_and_far_thresholds_are_drawn(draw, threshold, tmp_path):
    draw(np.full(5, 0.3, dtype=np.float32), threshold, tmp_path / "a.png")

    assert is_drawn(tmp_path / "a.png")


@pytest.mark.parametrize("draw", [draw_score_histogram, draw_kept_against_threshold])
@pytest.mark.parametrize("score", [[], [0.1, np.nan]])
def test_scores_that_cannot_be_drawn_are_an_error(draw, score, tmp_path):
    with pytest.raises(ValueError, match="all finite and at least one"):
        draw(np.array(score, dtype=np.float32), 0.5, tmp_path / "a.png")

    assert not (tmp_path / "a.png").exists()


@pytest.mark.filterwarnings("error")
def test_more_target_texts_than_fit_do_not_make_the_figure_grow(tmp_path):
    heights = []
    for num_targets in (39, 40, 400):
        path = tmp_path / f"{num_targets}.png"
        hits = np.random.default_rng(0).geometric(0.001, num_targets) ** 2
        draw_hits_per_target(hits, hits // 3, [f"text {i}" for i in range(num_targets)], path)
        heights.append(read(path).shape[0])

    assert heights[0] < heights[1] == heights[2]


def test_targets_that_nothing_hits_are_drawn(tmp_path):
    nothing = np.zeros(2, dtype=np.int64)

    draw_hits_per_target(nothing, nothing, ["cat", "dog"], tmp_path / "a.png")

    assert is_drawn(tmp_path / "a.png")
