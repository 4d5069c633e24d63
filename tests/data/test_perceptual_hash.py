import io

import numpy as np
import pytest
from PIL import Image

from vl_pipeline.data.perceptual_hash import (
    NO_HASH,
    NUM_GRID_BYTES,
    NUM_HASH_BYTES,
    colour_difference,
    colour_grid,
    perceptual_hash,
    shrink,
)


def picture_of(seed: int, *, side: int = 96) -> Image.Image:
    """Random blobs: a picture with content at every frequency that is hashed."""
    small = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def bits_apart(a: Image.Image, b: Image.Image) -> int:
    hashes = [
        np.frombuffer(perceptual_hash(shrink(np.asarray(image))), np.uint8) for image in (a, b)
    ]
    return int(np.unpackbits(hashes[0] ^ hashes[1]).sum())


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize("seed", range(5))
def test_size_and_compression_move_few_bits_and_another_picture_moves_half(seed):
    image = picture_of(seed)

    assert bits_apart(image, recompressed(image.resize((70, 70)), 50)) < 32
    assert 80 < bits_apart(image, picture_of(seed + 100)) < 176


def test_brightness_and_contrast_do_not_matter():
    pixels = np.asarray(picture_of(0)).astype(np.float32)
    darker = Image.fromarray((pixels * 0.5 + 20).astype(np.uint8))

    assert bits_apart(picture_of(0), darker) < 16


def test_hash_and_grid_of_any_size_have_the_same_length():
    for height, width in ((1, 1), (3, 200), (64, 64), (700, 500)):
        shrunk = shrink(np.zeros((height, width, 3), np.uint8))

        assert len(perceptual_hash(shrunk)) == NUM_HASH_BYTES
        assert len(colour_grid(shrunk)) == NUM_GRID_BYTES


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_picture_with_nothing_on_it_has_no_hash(grey):
    noise = np.random.default_rng(0).integers(0, 2, (64, 64, 3))

    flat = Image.fromarray((grey + noise).clip(0, 255).astype(np.uint8))

    assert perceptual_hash(flat) == NO_HASH


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_bits_of_any_other_picture_are_set(seed):
    hash_ = np.frombuffer(perceptual_hash(shrink(np.asarray(picture_of(seed)))), np.uint8)

    assert np.unpackbits(hash_).sum() == 128


@pytest.mark.parametrize(("frequency", "bit"), [(1, 0), (16, 255)])
def test_bits_stand_in_the_order_of_their_frequency(frequency, bit):
    wave = np.cos(np.pi * frequency * (np.arange(64) + 0.5) / 64)

    for sign in (1, -1):
        grey = 127 + sign * 100 * np.outer(wave, wave)
        shrunk = Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8))
        bits = np.unpackbits(np.frombuffer(perceptual_hash(shrunk), np.uint8))

        assert bits[bit] == (sign > 0)


def grid(*colours: int) -> np.ndarray:
    """Cells of grey, repeated to 16."""
    return np.repeat(np.resize(np.array(colours, np.uint8), 16), 3)[None]


def test_colour_difference_is_zero_for_a_brighter_copy_and_large_for_another_colour():
    red = np.tile(np.array([[200, 20, 20], [250, 250, 250]], np.uint8), (8, 1)).reshape(1, -1)
    blue = np.tile(np.array([[20, 20, 200], [250, 250, 250]], np.uint8), (8, 1)).reshape(1, -1)

    assert colour_difference(grid(10, 50), grid(30, 70)).item() == 0
    assert colour_difference(red, blue).item() > 0.5


def test_colour_difference_of_two_grids_by_hand():
    # Means 30 and 50; without them -20, 20 and -40, 40: 20 apart. The plainer one spreads by 20.
    assert colour_difference(grid(10, 50), grid(10, 90)).item() == pytest.approx(20 / (20 + 8))
