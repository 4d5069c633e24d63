import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.fakes import picture
from vl_pipeline.data.images import decode_rgb
from vl_pipeline.errors import ShardError


def saved(image: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def gradient(width: int, height: int) -> np.ndarray:
    """Pixels that change smoothly, so that no codec hurts them much."""
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    parts = np.broadcast_arrays(across, down, (across + down) / 2)
    return np.concatenate(parts, axis=2).round().astype(np.uint8)


def test_lossless_picture_comes_back_as_it_was():
    pixels = gradient(7, 5)

    assert (pixels == decode_rgb(saved(Image.fromarray(pixels), "PNG"))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_any_format_is_recognised_by_its_bytes(kind):
    decoded = decode_rgb(picture(width=24, height=16, kind=kind))

    assert decoded.shape == (16, 24, 3)
    assert np.abs(decoded[:, -4:].astype(int) - [200, 30, 30]).max() < 30


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("1", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG")],
)
def test_any_colour_mode_becomes_rgb(mode, kind):
    image = Image.fromarray(gradient(8, 8)).convert(mode)

    decoded = decode_rgb(saved(image, kind))

    assert decoded.shape == (8, 8, 3)
    assert np.uint8 == decoded.dtype


def test_progressive_jpeg_is_whole():
    pixels = gradient(64, 48)

    decoded = decode_rgb(saved(Image.fromarray(pixels), "JPEG", quality=95, progressive=True))

    assert np.abs(decoded.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("min_side_px", [None, 200, 100, 64, 33, 10])
def test_reduced_jpeg_is_the_same_picture_and_never_smaller_than_asked(min_side_px):
    pixels = gradient(320, 200)
    data = saved(Image.fromarray(pixels), "JPEG", quality=95)

    decoded = decode_rgb(data, min_side_px=min_side_px)

    height, width, _ = decoded.shape
    assert min(height, width) >= min(min_side_px or 200, 200)
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
    assert np.abs(decoded.astype(int) - expected).mean() < 3


def test_jpeg_is_decoded_at_the_smallest_scale_that_serves():
    data = saved(Image.fromarray(gradient(320, 240)), "JPEG")

    # scales are n/8: 240 * 3/8 = 90 is the first that is at least 64, 240 * 2/8 = 60 is not
    assert decode_rgb(data, min_side_px=64).shape == (90, 120, 3)


def test_jpeg_smaller_than_asked_is_not_enlarged():
    assert decode_rgb(picture(width=12, height=10), min_side_px=64).shape == (10, 12, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_cut_picture_is_refused(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)

    with pytest.raises(ShardError):
        decode_rgb(data[: int(share * len(data))])


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_picture_are_refused(data):
    with pytest.raises(ShardError, match="unreadable image"):
        decode_rgb(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_picture_of_more_pixels_than_allowed_is_refused(kind):
    data = picture(width=20, height=10, kind=kind)

    assert decode_rgb(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ShardError, match="20x10 px exceeds the limit of 199"):
        decode_rgb(data, max_pixels=199)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 9_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b"")

    with pytest.raises(ShardError):
        decode_rgb(data)


def test_what_is_wrong_with_an_image_is_said_alike_in_every_run():
    with pytest.raises(ShardError) as error:
        decode_rgb(b"no image at all")

    assert "UnidentifiedImageError: cannot identify image file" in str(error.value)
    assert "0x" not in str(error.value)
