"""What a picture looks like, in few bytes: a hash of its shapes, and a coarse grid of its colours.

The picture is shrunk to 64 x 64 and its grey values transformed by a cosine transform; the 256
lowest frequencies beside the constant, each above or below their median, are the bits of the hash.
Size, format and compression hardly move them. Bits stand in the order of their frequency: the
first ones are the coarse shapes, which a crop moves least. The hash knows no colours and nothing
of how strong a shape is, so two cushions, or two faces on white, are equal to it; the grid, the
mean colours of 4 x 4 cells, tells those apart.

Source: the DCT hash of Zauner's thesis (2010), at the 256 bits of Meta's PDQ (2019), which also
has a gate for pictures with nothing on them.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

NUM_HASH_BYTES = 32
NUM_GRID_BYTES = 48
NO_HASH = bytes(NUM_HASH_BYTES)
"""Of a picture with nothing to see; of all others half of the bits are set."""

_SIDE = 64
_FREQUENCIES = 16
_CELLS = 4
_MIDDLE = _FREQUENCIES**2 // 2  # the median lies between this place and the one before
_MIN_CONTRAST = 2.0  # grey levels of 255, standard deviation; below it the bits are rounding noise
_NOISE = 8.0  # grey levels; differences of flat pictures are measured against this

Shrunk = Image.Image
"""An RGB picture of 64 x 64."""


def shrink(pixels: UInt8[np.ndarray, "height width 3"]) -> Shrunk:
    """Average an RGB picture to 64 x 64, whatever its shape."""
    height, width = pixels.shape[:2]
    image = Image.frombytes("RGB", (width, height), pixels)
    return image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.0)


def perceptual_hash(shrunk: Shrunk) -> bytes:
    """Hash to 256 bits, low frequencies first; the number of bits that differ is the distance."""
    flat = np.frombuffer(shrunk.convert("L").tobytes(), dtype=np.uint8).astype(np.float32)
    mean = np.add.reduce(flat) / flat.size  # exact: a sum of 4096 bytes fits into a float32
    if flat @ flat / flat.size - mean**2 < _MIN_CONTRAST**2:
        return NO_HASH
    frequencies = (_COSINES @ flat.reshape(_SIDE, _SIDE) @ _COSINES.T).ravel()[_COARSE_FIRST]
    ascending = np.sort(frequencies)
    median = (ascending[_MIDDLE - 1] + ascending[_MIDDLE]) / 2
    return np.packbits(frequencies > median).tobytes()


def colour_grid(shrunk: Shrunk) -> bytes:
    """Mean colours of 4 x 4 cells, row by row, red, green and blue."""
    return shrunk.resize((_CELLS, _CELLS), Image.Resampling.BOX).tobytes()


def colour_difference(
    grids: UInt8[np.ndarray, "n 48"], others: UInt8[np.ndarray, "n 48"]
) -> Float32[np.ndarray, " n"]:
    """Compare colour grids row by row: 0 is equal, 1 is as different as the picture is varied.

    The root mean square of the difference, over the spread of the plainer of the two. Both are
    taken after each picture's mean, so that a brighter copy is a copy.
    """
    one, other = (_without_mean(g.astype(np.float32)) for g in (grids, others))
    spread = np.minimum(_root_mean_square(one), _root_mean_square(other))
    return _root_mean_square(one - other) / (spread + _NOISE)


def _without_mean(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    return rows - rows.mean(axis=1, keepdims=True)


def _root_mean_square(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
    return np.sqrt((rows**2).mean(axis=1))


def _cosines() -> np.ndarray:
    """Rows of the DCT-II for frequencies 1 to 16; 0, the mean, is left out."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    place = np.arange(_SIDE)[None, :] + 0.5
    return np.cos(np.pi * frequency * place / _SIDE).astype(np.float32)


def _coarse_first() -> np.ndarray:
    """Places of the frequencies by their distance from the constant one."""
    down, across = np.mgrid[1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1]
    return np.argsort((down**2 + across**2).ravel(), kind="stable")


_COSINES = _cosines()
_COARSE_FIRST = _coarse_first()
