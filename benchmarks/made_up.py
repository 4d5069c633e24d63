"""Made-up captions and pictures that cost what real ones cost: by length, and by bytes."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# Of 10,000 captions of LAION: 11 tokens at the median, 25 at the 90th percentile, mean 13.7.
_MEDIAN_WORDS, _SIGMA_WORDS = 9, 0.64  # of which some are more than one token
_NOT_ASCII_FRACTION = 0.096
# Amplitude of the finest noise, by shorter side: JPEGs then have the bytes of photographs.
_DETAIL = {512: 12.0, 256: 15.0}


def captions(num: int, *, seed: int = 0) -> list[str]:
    """Captions of CLIP's own words, frequent ones first, with the lengths of LAION's."""
    from open_clip.tokenizer import SimpleTokenizer

    words = np.array(
        [t[:-4] for t in SimpleTokenizer().encoder if t.endswith("</w>") and t[:-4].isalpha()]
    )
    draw = np.random.default_rng(seed)
    lengths = np.exp(draw.normal(np.log(_MEDIAN_WORDS), _SIGMA_WORDS, num)).round().clip(1, 200)
    ends = lengths.cumsum().astype(int)
    numbers = (len(words) ** draw.random(ends[-1])).astype(int) - 1  # about as Zipf has it
    foreign = draw.random(num) < _NOT_ASCII_FRACTION
    chosen = words[numbers]
    return [
        " ".join(chosen[a:b]) + (" \N{EN DASH} café" if odd else "")
        for a, b, odd in zip(ends - lengths.astype(int), ends, foreign, strict=True)
    ]


def read_captions(files: Sequence[Path], num: int) -> list[str]:
    """Take captions from gzipped lists, one a line, as many of each."""
    each = -(-num // len(files))
    texts: list[str] = []
    for file in files:
        with gzip.open(file, "rt") as lines:
            found = [line.strip() for line in lines if line.strip()]
        texts += [found[n] for n in np.linspace(0, len(found) - 1, each).astype(int)]
    return texts[:num]


def photographs(num: int, *, shorter_px: int, seed: int = 0) -> list[bytes]:
    """JPEGs (4 by 5, quality 95, 4:2:0) of patches before one another, with nature's detail.

    Edges where a patch hides another, and detail whose strength falls with frequency: the decoder
    has as many coefficients to read, and the resizer as much to average, as of a photograph.
    """
    draw = np.random.default_rng([seed, shorter_px])
    files = []
    for _ in range(num):
        pixels = _patches(draw, shorter_px, shorter_px * 5 // 4)
        detail = _DETAIL[shorter_px]
        pixels += detail * noise(draw, pixels.shape[:2], 1.4)[..., None]
        for channel in range(3):
            pixels[..., channel] += 0.4 * detail * noise(draw, pixels.shape[:2], 1.7)
        files.append(jpeg(pixels.clip(0, 255).astype(np.uint8)))
    return files


def jpeg(pixels: np.ndarray, *, quality: int = 95) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def write_shard(path: Path, pairs: Iterable[tuple[str, bytes, str]]) -> None:
    """Write (key, JPEG, caption) as a tar in the order that img2dataset has."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for key, image, caption in pairs:
            for suffix, content in (("jpg", image), ("txt", caption.encode())):
                header = tarfile.TarInfo(f"{key}.{suffix}")
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))


def _patches(draw: np.random.Generator, height: int, width: int) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    pixels = np.tile(draw.uniform(40, 215, 3), (height, width, 1))
    for _ in range(60):
        radius = height * min(0.5, 0.03 / max(draw.random(), 1e-3) ** 0.7)
        y, x = draw.uniform(0, height), draw.uniform(0, width)
        angle, squeeze = draw.uniform(0, np.pi), draw.uniform(0.4, 1)
        u = (across - x) * np.cos(angle) + (down - y) * np.sin(angle)
        v = (down - y) * np.cos(angle) - (across - x) * np.sin(angle)
        pixels[(u / radius) ** 2 + (v / (squeeze * radius)) ** 2 < 1] = draw.uniform(20, 235, 3)
    return pixels


def noise(draw: np.random.Generator, shape: tuple[int, ...], exponent: float) -> np.ndarray:
    """Noise of deviation 1 over the last two axes, of amplitude frequency**-exponent."""
    height, width = shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    size = (*shape[:-2], *frequency.shape)
    waves = draw.standard_normal(size) + 1j * draw.standard_normal(size)
    noise = np.fft.irfft2(waves / frequency**exponent, s=(height, width))
    return noise / noise.std()
