"""A hash of what a picture looks like: near-equal pictures differ in few of its bits.

The picture is shrunk to 64 x 64 grey values and transformed by a cosine transform; the 256 lowest
frequencies beside the constant, each above or below their median, are the bits. Size, format and
compression hardly move them.

Source: the DCT hash of Zauner's thesis (2010), at the 256 bits of Meta's PDQ (2019).
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

NUM_HASH_BYTES = 32
_SIDE = 64
_FREQUENCIES = 16


def perceptual_hash(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Hash an RGB picture to 256 bits; the number of bits that differ measures the distance."""
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32)
    frequencies = (_COSINES @ values @ _COSINES.T).ravel()
    return np.packbits(frequencies > np.median(frequencies)).tobytes()


def _cosines() -> np.ndarray:
    """Rows of the DCT-II for frequencies 1 to 16; 0, the mean, is left out."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    place = np.arange(_SIDE)[None, :] + 0.5
    return np.cos(np.pi * frequency * place / _SIDE).astype(np.float32)


_COSINES = _cosines()
