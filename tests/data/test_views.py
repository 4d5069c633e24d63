import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fakes import picture
from vl_pipeline.data.views import TrainingViews, _draw_crop, evaluation_view, training_views

WHOLE = TrainingViews(min_crop_fraction=1.0, flip_probability=0.0)


def training_view(data: bytes, views: TrainingViews, **settings) -> np.ndarray:
    return training_views(data, views, num_views=1, **settings)[0]


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


def landscape(width: int, height: int) -> np.ndarray:
    """Pixels like a photograph's: an edge, and detail that falls with frequency as in nature."""
    draw = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(draw.standard_normal((3, height, width)))
    detail = np.fft.ifft2(noise / frequency**1.3).real
    detail *= 40 / detail.std()
    sky = np.where(np.arange(height)[:, None] < height / 3, 60, -20)
    return (110 + sky + detail).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def saved(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    settings = {"quality": 95, "subsampling": "4:2:0"} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(file, kind, **settings)
    return file.getvalue()


def plain_view(data: bytes, side_px: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """What is asked for, done the slow way: all of the picture decoded, and Pillow's bicubic."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))


HALF = TrainingViews(min_crop_fraction=0.5, flip_probability=0.0)


@pytest.mark.parametrize(
    ("width", "height", "side_px", "divided_by", "least_decibels", "most_levels"),
    [
        (640, 512, 224, 1, 60, 0.1),  # decoded in full: what differs is the resizer's rounding
        (320, 256, 64, 2, 42, 1.5),
        (320, 256, 105, 2, 38, 2.5),  # no smaller than a view
        (640, 512, 64, 4, 42, 1.5),
    ],
)
def test_view_of_a_large_jpeg_is_close_to_the_view_of_all_its_pixels(
    width, height, side_px, divided_by, least_decibels, most_levels
):
    data = saved(landscape(width, height), "JPEG")
    errors = []
    for seed in range(40):
        edges = _draw_crop(width, height, 0.5, np.random.default_rng(seed))
        shorter = min(edges[2] - edges[0], edges[3] - edges[1])
        if not divided_by * side_px <= shorter < 2 * divided_by * side_px:
            continue
        view = training_view(data, HALF, side_px=side_px, draw=np.random.default_rng(seed))
        box = tuple(divided_by * round(edge / divided_by) for edge in edges)
        errors.append(view.astype(float) - plain_view(data, side_px, box))

    decibels = 10 * np.log10(255**2 / np.square(errors).mean())

    assert len(errors) > 4
    assert decibels >= least_decibels
    assert np.abs(errors).mean() <= most_levels


@pytest.mark.parametrize(("extra_px", "divided_by", "most_levels"), [(0, 2, 2.5), (1, 1, 0.1)])
def test_a_picture_is_divided_as_far_as_its_smallest_crop_allows(extra_px, divided_by, most_levels):
    data = saved(landscape(320, 256), "JPEG")
    draw, boxes = np.random.default_rng(1), []
    for _ in range(4):
        boxes.append(_draw_crop(320, 256, 0.5, draw))
        draw.random()  # whether it is mirrored
    shortest = min(min(right - left, bottom - top) for left, top, right, bottom in boxes)
    side_px = int(shortest / 2) + extra_px

    views = training_views(data, HALF, num_views=4, side_px=side_px, draw=np.random.default_rng(1))

    for view, box in zip(views, boxes, strict=True):
        edges = tuple(divided_by * round(edge / divided_by) for edge in box)
        assert np.abs(view.astype(float) - plain_view(data, side_px, edges)).mean() < most_levels


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("width", "height"), [(80, 80), (64, 91), (119, 200)])
def test_view_of_a_small_picture_is_pillows_to_the_bit(kind, width, height):
    data = saved(landscape(width, height), kind)

    for seed in range(8):
        view = training_view(data, HALF, side_px=64, draw=np.random.default_rng(seed))
        box = _draw_crop(width, height, 0.5, np.random.default_rng(seed))
        assert (view == plain_view(data, 64, box)).all()


def test_views_of_one_picture_are_drawn_one_after_the_other():
    views = TrainingViews(min_crop_fraction=0.5, flip_probability=0.5)
    data = saved(landscape(90, 70), "JPEG")
    draw = np.random.default_rng(1)

    together = training_views(data, views, num_views=2, side_px=32, draw=np.random.default_rng(1))

    for view in together:
        assert (view == training_view(data, views, side_px=32, draw=draw)).all()
