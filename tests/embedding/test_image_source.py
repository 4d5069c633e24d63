import itertools
import threading

import numpy as np
import pytest
import torch

from tests.fakes import distinct_picture, write_pool_shard
from vl_pipeline.data.loader import ViewLoader
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.views import TrainingViews, evaluation_view
from vl_pipeline.embedding.image_source import FreshViews, FrozenFeatures

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path) -> PoolImages:
    captions = [f"caption {n}" for n in range(10)]
    return PoolImages(write_pool_shard(tmp_path / "0.tar", captions), tmp_path)


def numbered(*batches: list[int]) -> list[tuple[int, np.ndarray]]:
    return [(step, np.array(rows)) for step, rows in enumerate(batches)]


def frozen(model, images, folder, *, batch_size: int = 4) -> FrozenFeatures:
    model.freeze(["image_tower.trunk"])
    return FrozenFeatures(
        model, images, folder=folder, device=CPU, batch_size=batch_size, num_threads=2
    )


class CountedTrunk(torch.nn.Module):
    """A trunk that counts the images that pass it."""

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.batch_sizes: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batch_sizes.append(len(pixels))
        return self.trunk(pixels)


def test_features_are_the_trunks_output_for_the_evaluation_view(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")

    (features,) = source.inputs(numbered([3, 8]))

    views = np.stack([evaluation_view(distinct_picture(n), side_px=16) for n in (3, 8)])
    with torch.no_grad():
        expected = fake_vit.image_features(torch.from_numpy(views))
    assert features.shape == (1, 2, 32)
    assert torch.allclose(expected, features[0], atol=1e-5)


def test_embeddings_are_projected_features_with_gradient(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")
    (features,) = source.inputs(numbered([3, 8]))

    embeddings = source.embed(features)
    embeddings.sum().backward()

    assert torch.equal(fake_vit.image_tower.projection(features), embeddings)
    assert fake_vit.image_tower.projection.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in fake_vit.image_tower.trunk.parameters())


def test_each_image_passes_the_trunk_once(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")
    trunk = fake_vit.image_tower.trunk = CountedTrunk(fake_vit.image_tower.trunk)

    list(source.inputs(numbered([0, 1, 2, 3], [2, 3, 4, 5], [0, 5, 1, 4])))

    assert source.num_computed == 6
    assert trunk.batch_sizes == [4, 4]  # 0 to 3; then 4 and 5, filled up to a whole batch
    times_seen = np.bincount([0, 1, 2, 3, 2, 3, 4, 5, 0, 5, 1, 4], minlength=10)
    assert source.num_computed == source.num_forwards(times_seen)


def test_what_several_steps_lack_passes_together_and_is_decoded_once(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")
    trunk = fake_vit.image_tower.trunk = CountedTrunk(fake_vit.image_tower.trunk)
    decoded: list[int] = []
    read = images.read
    images.read = lambda row: decoded.append(row) or read(row)

    list(source.inputs(numbered([0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5], [0, 1, 2, 6])))

    assert trunk.batch_sizes == [4, 4]
    assert sorted(decoded) == [0, 1, 2, 3, 4, 5, 6]


def test_threads_decode_for_steps_to_come(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")
    together = threading.Barrier(2, timeout=10)  # of two threads, or broken
    read = images.read

    def read_beside_another(row: int) -> bytes:
        together.wait()
        return read(row)

    images.read = read_beside_another

    assert len(list(source.inputs(numbered([0, 1, 2, 3], [4, 5, 6, 7])))) == 2


def test_batches_come_in_order_however_far_ahead_images_are_computed(fake_vit, images, tmp_path):
    draw = np.random.default_rng(0)
    batches = [(step, draw.integers(0, 10, size=3)) for step in range(50)]
    (expected,) = frozen(fake_vit, images, tmp_path / "whole").inputs(numbered(list(range(10))))

    found = list(frozen(fake_vit, images, tmp_path / "ahead").inputs(batches))

    assert len(found) == 50
    for (_, rows), features in zip(batches, found, strict=True):
        assert torch.equal(expected[:, rows], features)


def test_steps_are_looked_at_a_bounded_number_ahead(fake_vit, images, tmp_path):
    asked = itertools.count()
    endless = ((next(asked), np.array([0, 1])) for _ in itertools.repeat(None))

    inputs = frozen(fake_vit, images, tmp_path / "features").inputs(endless)
    next(inputs)
    inputs.close()

    assert next(asked) <= 16 * 4  # two threads, one part in hand and one waiting


def test_image_that_comes_twice_in_a_batch_passes_once(fake_vit, images, tmp_path):
    source = frozen(fake_vit, images, tmp_path / "features")

    (features,) = source.inputs(numbered([7, 7, 7]))

    assert source.num_computed == 1
    assert torch.equal(features[0, 0], features[0, 2])


@pytest.mark.parametrize("model_name", ["fake_vit", "resnet"])
def test_features_do_not_depend_on_company_to_the_last_bit(model_name, images, tmp_path, request):
    model = request.getfixturevalue(model_name)
    together = frozen(model, images, tmp_path / "together")
    apart = frozen(model, images, tmp_path / "apart")

    (whole,) = together.inputs(numbered(list(range(10))))
    alone = [next(apart.inputs(numbered([row])))[0, 0] for row in reversed(range(10))]

    assert torch.equal(whole[0], torch.stack(alone[::-1]))


def test_features_survive_a_restart(fake_vit, images, tmp_path):
    first = frozen(fake_vit, images, tmp_path / "features")
    (before,) = first.inputs(numbered([1, 2, 3]))
    del first

    source = frozen(fake_vit, images, tmp_path / "features")
    trunk = fake_vit.image_tower.trunk = CountedTrunk(fake_vit.image_tower.trunk)
    (after,) = source.inputs(numbered([3, 2, 1]))

    assert source.num_computed == 3
    assert trunk.batch_sizes == []
    assert torch.equal(before[0], after[0].flip(0))


def test_restart_goes_on_with_what_is_missing(fake_vit, images, tmp_path):
    list(frozen(fake_vit, images, tmp_path / "features").inputs(numbered([1, 2])))

    source = frozen(fake_vit, images, tmp_path / "features")
    (features,) = source.inputs(numbered([2, 9]))

    (expected,) = frozen(fake_vit, images, tmp_path / "other").inputs(numbered([2, 9]))
    assert source.num_computed == 3
    assert torch.equal(expected, features)


def test_fresh_views_are_the_loaders_and_pass_the_trunk_with_gradient(fake_vit, images):
    views = TrainingViews(min_crop_fraction=0.5, flip_probability=0.5)
    loader = ViewLoader(images, views, side_px=16, num_views=2, seed=0)
    source = FreshViews(fake_vit, loader, device=CPU, num_threads=2)
    batches = numbered([3, 8], [1, 0])

    pixels = list(source.inputs(batches))
    embeddings = source.embed(pixels[0])
    embeddings.sum().backward()

    for batch, found in zip(batches, pixels, strict=True):
        assert (loader.load(*batch) == found.numpy()).all()
    assert embeddings.shape == (2, 2, 24)
    with torch.no_grad():
        second_view = fake_vit.image_tower.projection(fake_vit.image_features(pixels[0][1]))
    assert torch.allclose(second_view, embeddings[1], atol=1e-6)
    assert fake_vit.image_tower.trunk.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("num_views", [1, 2])
def test_fresh_views_pass_the_trunk_each_time(fake_vit, images, num_views):
    views = TrainingViews(min_crop_fraction=0.5, flip_probability=0.5)
    loader = ViewLoader(images, views, side_px=16, num_views=num_views, seed=0)
    source = FreshViews(fake_vit, loader, device=CPU, num_threads=1)
    trunk = fake_vit.image_tower.trunk = CountedTrunk(fake_vit.image_tower.trunk)

    for inputs in source.inputs(numbered([0, 1], [1, 2])):
        source.embed(inputs)

    times_seen = np.bincount([0, 1, 1, 2], minlength=10)
    assert sum(trunk.batch_sizes) == source.num_forwards(times_seen) == 4 * num_views
