import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.fakes import picture
from vl_pipeline.data.images import FORMATS, OversizedImageError, decode_rgb, upright_size
from vl_pipeline.errors import ShardError


def saved(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
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


@pytest.mark.parametrize("kind", FORMATS)
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


@pytest.mark.parametrize(
    ("divided_by", "shape"),
    [(1, (101, 255, 3)), (2, (51, 128, 3)), (4, (26, 64, 3)), (8, (13, 32, 3))],
)
def test_sides_of_a_divided_jpeg_are_rounded_up(divided_by, shape):
    data = saved(Image.fromarray(gradient(255, 101)), "JPEG", quality=95)

    assert decode_rgb(data, divided_by=divided_by).shape == shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_size_is_that_of_the_decoded_picture(kind, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    data = saved(Image.fromarray(gradient(31, 20)), kind, exif=exif)

    assert upright_size(data) == decode_rgb(data).shape[1::-1]


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff cut off"])
def test_size_of_what_is_no_picture_is_refused(data):
    with pytest.raises(ShardError):
        upright_size(data)


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
def test_bytes_that_are_no_picture_are_refused_in_the_same_words_each_time(data):
    messages = set()
    for _ in range(2):
        with pytest.raises(ShardError, match="no image of a known format") as error:
            decode_rgb(bytes(bytearray(data)))
        messages.add(str(error.value))

    assert len(messages) == 1


def test_picture_in_a_format_that_runs_programs_is_refused():
    data = saved(Image.fromarray(gradient(8, 8)), "EPS")

    with pytest.raises(ShardError, match="no image of a known format"):
        decode_rgb(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_picture_of_more_pixels_than_allowed_is_refused(kind):
    data = picture(width=20, height=10, kind=kind)

    assert decode_rgb(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(OversizedImageError, match="20x10 px exceeds the limit of 199"):
        decode_rgb(data, max_pixels=199)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes, side_px: int = 1) -> bytes:
    """A black PNG with more chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(3 * side_px)) * side_px))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 9_000), (50_000, 50_000)])
def test_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(size):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b"")

    with pytest.raises(OversizedImageError):
        decode_rgb(data)


def test_what_is_wrong_with_an_image_is_said_alike_in_every_run():
    with pytest.raises(ShardError) as error:
        decode_rgb(b"no image at all")

    assert "no image of a known format" in str(error.value)
    assert "0x" not in str(error.value)


BOMB = zlib.compress(bytes(200 * 2**20), 9)  # 200 kB that become 200 MB

BOMBS = {
    "iCCP": png_with(chunk(b"iCCP", b"name\0\0" + BOMB)),
    "zTXt": png_with(chunk(b"zTXt", b"name\0\0" + BOMB)),
    "iTXt": png_with(chunk(b"iTXt", b"name\0\1\0\0\0" + BOMB)),
    "IDAT": png_with(chunk(b"IDAT", BOMB)),
    "many zTXt": png_with(*[chunk(b"zTXt", b"n\0\0" + zlib.compress(bytes(2**20)))] * 200),
}


@pytest.mark.parametrize("place", BOMBS)
def test_compressed_bomb_in_a_png_takes_little_memory(place):
    tracemalloc.start()
    try:
        with suppress(ShardError):  # an oversized colour profile is ignored, a text is not
            assert decode_rgb(BOMBS[place]).shape == (1, 1, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 80 * 2**20


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white_as_on_a_page(mode):
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2] = [200, 200, 200, 255]
    image = Image.fromarray(pixels)
    if mode == "P":  # the colour that stands for transparent is black
        image = image.convert("RGB").convert("P")
        data = saved(image, "PNG", transparency=image.getpixel((0, 3)))
    else:
        data = saved(image.convert(mode), "PNG")

    decoded = decode_rgb(data)

    assert (np.abs(decoded[:2].astype(int) - 200) < 12).all()
    assert (decoded[2:] == 255).all()


def test_half_transparent_part_is_mixed_with_white():
    pixels = np.full((2, 2, 4), [0, 0, 0, 128], dtype=np.uint8)

    # 255 * (1 - 128 / 255) = 127
    assert np.unique(decode_rgb(saved(Image.fromarray(pixels), "PNG"))).tolist() == [127]


def test_sixteen_bits_are_rounded_to_eight():
    grey = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)

    decoded = decode_rgb(saved(Image.fromarray(grey), "PNG"))

    assert decoded[..., 0].tolist() == [[0, 1, 128, 255]]


def test_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]

    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])

        assert np.abs(decode_rgb(data)[4, 4].astype(int) - [255, 0, 0]).max() < 4


# One dark pixel in the top left of what is shown, and where it is stored.
STORED = {
    1: (0, 0),
    2: (0, -1),
    3: (-1, -1),
    4: (-1, 0),
    5: (0, 0),
    6: (-1, 0),
    7: (-1, -1),
    8: (0, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_picture_is_upright_as_exif_says(orientation, kind):
    shown = np.full((32, 48, 3), 255, dtype=np.uint8)
    shown[:16, :16] = 0
    stored = np.full((48, 32, 3) if orientation > 4 else (32, 48, 3), 255, dtype=np.uint8)
    row, column = STORED[orientation]
    stored[slice(-16, None) if row else slice(16), slice(-16, None) if column else slice(16)] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = decode_rgb(saved(Image.fromarray(stored), kind, exif=exif))

    assert decoded.shape == shown.shape
    assert np.abs(decoded.astype(int) - shown).mean() < 3


ORIENTATION_IN_WORDS = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + b"\xff" * 900,
        ORIENTATION_IN_WORDS,
    ],
)
def test_broken_exif_costs_no_picture(exif):
    data = saved(Image.fromarray(gradient(16, 8)), "JPEG", exif=exif)

    assert decode_rgb(data).shape == (8, 16, 3)


def test_exif_is_found_behind_other_segments_and_the_bytes_that_fill_between_them():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = saved(Image.fromarray(gradient(16, 8)), "JPEG", exif=turned)
    comment = b"\xff\xfe\x00\x08Exif\0\0"  # the words alone are no Exif
    plain = saved(Image.fromarray(gradient(16, 8)), "JPEG")

    later = data[:2] + comment + b"\xff\xff" + data[2:]

    assert decode_rgb(later).shape == decode_rgb(data).shape == (16, 8, 3)
    assert decode_rgb(plain[:2] + comment + plain[2:]).shape == (8, 16, 3)


WHOLE = [picture(kind=kind) for kind in FORMATS]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, 2000),
)
def test_damaged_picture_is_a_picture_or_refused(whole, changes, num_bytes_cut):
    damaged = bytearray(whole)
    for place, data in changes:
        damaged[place % len(whole) : place % len(whole) + len(data)] = data
    damaged = bytes(damaged[: len(damaged) - num_bytes_cut % 40])

    with suppress(ShardError):
        height, width, channels = decode_rgb(damaged, min_side_px=8, max_pixels=100_000).shape
        assert channels == 3
        assert 0 < height * width <= 100_000
