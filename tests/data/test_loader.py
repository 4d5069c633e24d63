import threading
import time

import numpy as np
import pytest

from tests.fakes import write_pool_shard
from vl_pipeline.data.loader import ViewLoader, load_ahead, load_evaluation_views
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.views import TrainingViews, evaluation_view
from vl_pipeline.errors import ParameterError

VIEWS = TrainingViews(min_crop_fraction=0.3, flip_probability=0.5)


@pytest.fixture
def images(tmp_path) -> PoolImages:
    captions = [f"caption {n}" for n in range(6)]
    return PoolImages(write_pool_shard(tmp_path / "0.tar", captions), tmp_path)


def loader(images: PoolImages, *, seed: int = 0, num_views: int = 1) -> ViewLoader:
    return ViewLoader(images, VIEWS, side_px=8, num_views=num_views, seed=seed)


def test_batch_has_one_slice_per_view(images):
    pixels = loader(images, num_views=2).load(0, np.array([4, 1, 3]))

    assert pixels.shape == (2, 3, 8, 8, 3)
    assert (pixels[0] != pixels[1]).any()


def test_pixels_depend_on_seed_step_and_row_and_not_on_the_company(images):
    pixels = loader(images).load(5, np.array([2, 4]))

    assert (pixels[:, 1:] == loader(images).load(5, np.array([4]))).all()
    assert (pixels != loader(images).load(6, np.array([2, 4]))).any()
    assert (pixels != loader(images, seed=1).load(5, np.array([2, 4]))).any()


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_pixels_do_not_depend_on_the_number_of_threads(images, num_threads):
    batches = [(step, np.array([step % 6, (step + 3) % 6])) for step in range(8)]
    alone = [loader(images).load(*batch) for batch in batches]
    shared = loader(images)

    ahead = list(load_ahead(lambda batch: shared.load(*batch), batches, num_threads=num_threads))

    assert all((a == b).all() for a, b in zip(alone, ahead, strict=True))


def test_evaluation_views_are_stacked_in_order(images):
    data = [images.read(row) for row in (3, 0)]

    views = load_evaluation_views(iter(data), side_px=8)

    assert (views[0] == evaluation_view(data[0], side_px=8)).all()
    assert (views[1] == evaluation_view(data[1], side_px=8)).all()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_come_in_order_though_later_ones_are_ready_first(num_threads):
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return 10 * number

    results = list(load_ahead(slow_at_first, range(6), num_threads=num_threads))

    assert results == [0, 10, 20, 30, 40, 50]


def test_nothing_to_load_gives_nothing():
    assert list(load_ahead(str, [], num_threads=2)) == []


def test_error_comes_in_its_place_after_what_went_well():
    def third_fails(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    results = load_ahead(third_fails, range(10), num_threads=2)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="2"):
        next(results)


def test_no_more_is_loaded_ahead_than_the_threads_need():
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = load_ahead(str, items(), num_threads=2)
    next(results)

    assert len(taken) <= 4
    results.close()


def test_threads_end_when_the_reader_stops_early():
    before = threading.active_count()
    results = load_ahead(str, range(100), num_threads=3)
    next(results)

    results.close()

    assert before == threading.active_count()


@pytest.mark.parametrize(("min_crop_fraction", "resize_px"), [(None, None), (0.5, 20)])
def test_a_view_is_either_by_area_or_out_of_the_resized_image(images, min_crop_fraction, resize_px):
    views = TrainingViews(min_crop_fraction=min_crop_fraction, flip_probability=0.0)

    with pytest.raises(ParameterError, match="exactly one of them has to be null"):
        ViewLoader(images, views, side_px=8, num_views=1, seed=0, resize_px=resize_px)


def test_views_of_a_model_that_resizes_first_are_cut_out_of_that(images):
    views = TrainingViews(min_crop_fraction=None, flip_probability=0.0)
    whole = ViewLoader(images, views, side_px=8, num_views=1, seed=0, resize_px=8)

    pixels = whole.load(0, np.array([2]))[0]

    expected = load_evaluation_views([images.read(2)], side_px=8, resize_px=8)
    assert (pixels == expected).all()
