import io

import numpy as np
import pytest
from PIL import Image

from vl_pipeline.data.perceptual_hash import NUM_HASH_BYTES, perceptual_hash


def picture_of(seed: int, *, side: int = 96) -> Image.Image:
    """Random blobs: a picture with content at every frequency that is hashed."""
    small = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def bits_apart(a: Image.Image, b: Image.Image) -> int:
    hashes = [np.frombuffer(perceptual_hash(np.asarray(image)), np.uint8) for image in (a, b)]
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


def test_hash_of_any_size_has_the_same_length():
    for height, width in ((1, 1), (3, 200), (64, 64)):
        assert len(perceptual_hash(np.zeros((height, width, 3), np.uint8))) == NUM_HASH_BYTES
