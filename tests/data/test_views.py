import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fakes import picture
from vl_pipeline.data.views import TrainingViews, _draw_crop, evaluation_view, training_view

WHOLE = TrainingViews(min_crop_fraction=1.0, flip_probability=0.0)


def stripes(width: int, height: int) -> bytes:
    """A lossless picture: the middle square white, what lies left, right, above, below black."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (20, 20), (10, 30)])
def test_evaluation_view_is_the_centre_square(width, height):
    view = evaluation_view(stripes(width, height), side_px=8)

    # the kernel reaches a little over the edge; one source pixel of offset would leave under 160
    assert view.shape == (8, 8, 3)
    assert view.min() > 230


def test_evaluation_view_is_the_same_every_time():
    data = picture(width=50, height=31)

    assert (evaluation_view(data, side_px=16) == evaluation_view(data, side_px=16)).all()


def test_equal_draws_give_equal_views_and_others_give_others():
    views = TrainingViews(min_crop_fraction=0.3, flip_probability=0.5)
    data = picture(width=50, height=31)

    first, again, other = (
        training_view(data, views, side_px=16, draw=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )

    assert first.shape == (16, 16, 3)
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(("probability", "dark_side"), [(0.0, slice(0, 4)), (1.0, slice(-4, None))])
def test_view_is_mirrored_with_the_probability_asked_for(probability, dark_side):
    views = TrainingViews(min_crop_fraction=1.0, flip_probability=probability)
    data = picture(width=24, height=24, kind="PNG")  # its left third is dark

    view = training_view(data, views, side_px=24, draw=np.random.default_rng(0))

    assert view[:, dark_side].mean() < view.mean() / 2


def test_middle_is_taken_where_no_crop_fits():
    # a crop of the whole area and an aspect of at most 4/3 does not fit into a strip
    assert _draw_crop(90, 10, 1.0, np.random.default_rng(0)) == (40.0, 0.0, 50.0, 10.0)


@given(st.integers(1, 100), st.integers(1, 100), st.floats(0.05, 1), st.integers(0, 2**32))
def test_crop_lies_within_the_picture_and_takes_the_share_asked_for(width, height, share, seed):
    left, top, right, bottom = _draw_crop(width, height, share, np.random.default_rng(seed))

    assert 0 <= left < right <= width * (1 + 1e-9)
    assert 0 <= top < bottom <= height * (1 + 1e-9)
    is_middle = (right - left) == (bottom - top) == min(width, height)
    large_enough = (right - left) * (bottom - top) >= share * width * height * (1 - 1e-9)
    assert large_enough or is_middle


def test_crops_spread_over_shares_and_aspects():
    draw = np.random.default_rng(0)
    boxes = np.array([_draw_crop(100, 100, 0.25, draw) for _ in range(400)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]

    areas, aspects = widths * heights / 1e4, widths / heights

    assert 0.25 <= areas.min() < 0.3 < 0.5 < areas.mean() < 0.7
    assert 0.75 <= aspects.min() < 0.8 < 1.25 < aspects.max() <= 4 / 3 + 1e-9


def test_view_from_a_reduced_jpeg_is_the_view_from_the_whole():
    across = np.broadcast_to(np.linspace(0, 255, 400)[None, :, None], (300, 400, 3))
    image = Image.fromarray(across.round().astype(np.uint8))
    files = {}
    for kind, settings in {"JPEG": {"quality": 95}, "PNG": {}}.items():  # a PNG is not reduced
        file = io.BytesIO()
        image.save(file, kind, **settings)
        files[kind] = file.getvalue()
    views = TrainingViews(min_crop_fraction=0.5, flip_probability=0.0)

    reduced, whole = (
        training_view(files[kind], views, side_px=32, draw=np.random.default_rng(3)).astype(int)
        for kind in ("JPEG", "PNG")
    )

    assert np.abs(reduced - whole).mean() < 2


# --- views out of a resized image (ALIGN)

CUT = TrainingViews(min_crop_fraction=None, flip_probability=0.0)


def ramp(width: int, height: int) -> bytes:
    """A lossless picture whose red grows from left to right and whose green from top to bottom."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 250, width)
    pixels[..., 1] = np.linspace(0, 250, height)[:, None]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(120, 40), (40, 120)])
def test_evaluation_view_of_a_resized_image_is_its_middle_whatever_its_aspect(width, height):
    view = evaluation_view(ramp(width, height), side_px=20, resize_px=40).astype(int)

    # a quarter is cut off at each end, of the long side as of the short one
    assert view.shape == (20, 20, 3)
    for edge in (view[:, 0, 0], view[0, :, 1]):
        assert edge == pytest.approx(250 / 4, abs=7)
    for edge in (view[:, -1, 0], view[-1, :, 1]):
        assert edge == pytest.approx(250 * 3 / 4, abs=7)


def test_training_view_is_a_square_anywhere_in_the_resized_image():
    data = ramp(120, 40)
    views = [
        training_view(data, CUT, side_px=20, resize_px=40, draw=np.random.default_rng(seed))
        for seed in range(200)
    ]

    lefts = np.array([view[0, 0, :2].astype(int) for view in views])
    widths = np.array([view[-1, -1, :2].astype(int) - view[0, 0, :2] for view in views])
    assert widths == pytest.approx(250 * 19 / 40, abs=9)  # always half of each side
    assert lefts.min(axis=0) == pytest.approx([0, 0], abs=8)
    assert lefts.max(axis=0) == pytest.approx([125, 125], abs=8)
    assert abs(np.corrcoef(lefts.T)[0, 1]) < 0.2


def test_as_large_a_square_as_the_image_is_the_whole_of_it():
    data = ramp(60, 30)

    whole = training_view(data, CUT, side_px=30, resize_px=30, draw=np.random.default_rng(0))

    assert (whole == evaluation_view(data, side_px=30, resize_px=30)).all()
