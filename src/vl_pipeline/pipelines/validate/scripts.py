"""The scripts that captions are written in, from their code points alone.

A script says less than a language (Latin letters write hundreds), but needs no model, and a pool
that should be of one language and is not shows in it.
"""

import numpy as np
import pyarrow as pa

NO_LETTERS = "no letters"

# First code point of a range, and the script of its letters; None for what is no letter. Source:
# the blocks of the Unicode Character Database; rare scripts are `other`.
_RANGES: list[tuple[int, str | None]] = [
    (0x0000, None), (0x0041, "Latin"), (0x005B, None), (0x0061, "Latin"), (0x007B, None),
    (0x00AA, "Latin"), (0x00AB, None), (0x00BA, "Latin"), (0x00BB, None), (0x00C0, "Latin"),
    (0x00D7, None), (0x00D8, "Latin"), (0x00F7, None), (0x00F8, "Latin"), (0x02B0, None),
    (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"),
    (0x0600, "Arabic"), (0x0700, "other"), (0x0750, "Arabic"), (0x0780, "other"),
    (0x08A0, "Arabic"), (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi"),
    (0x0A80, "Gujarati"), (0x0B00, "other"), (0x0B80, "Tamil"), (0x0C00, "Telugu"),
    (0x0C80, "Kannada"), (0x0D00, "Malayalam"), (0x0D80, "other"), (0x0E00, "Thai"),
    (0x0E80, "other"), (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "other"),
    (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, None), (0x2C00, "other"), (0x2C60, "Latin"),
    (0x2C80, "other"), (0x2DE0, "Cyrillic"), (0x2E00, None), (0x2E80, "Han"), (0x3000, None),
    (0x3005, "Han"), (0x3008, None), (0x3041, "Kana"), (0x3100, "other"), (0x3130, "Hangul"),
    (0x3190, "other"), (0x31F0, "Kana"), (0x3200, None), (0x3400, "Han"), (0x4DC0, None),
    (0x4E00, "Han"), (0xA000, "other"), (0xAC00, "Hangul"), (0xD800, None), (0xF900, "Han"),
    (0xFB00, "Latin"), (0xFB13, "Armenian"), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"),
    (0xFE00, None), (0xFE70, "Arabic"), (0xFEFF, None), (0xFF21, "Latin"), (0xFF3B, None),
    (0xFF41, "Latin"), (0xFF5B, None), (0xFF66, "Kana"), (0xFFA0, "Hangul"), (0xFFE0, None),
    (0x10000, "other"), (0x1F000, None), (0x20000, "Han"), (0x323B0, None),
]  # fmt: skip
_STARTS = np.array([start for start, _ in _RANGES])
_NAMES = sorted({name for _, name in _RANGES if name})
_SCRIPT_OF_RANGE = np.array([_NAMES.index(name) if name else -1 for _, name in _RANGES])


def scripts_of(captions: pa.Array) -> np.ndarray:
    """Name the script that most letters of each caption belong to; ties go by name.

    Args:
        captions: Strings without nulls.
    """
    texts = captions.to_pylist()
    points = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    caption = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    script = _SCRIPT_OF_RANGE[np.searchsorted(_STARTS, points, side="right") - 1]
    letters = script >= 0
    num_scripts = len(_NAMES)
    counts = np.bincount(
        caption[letters] * num_scripts + script[letters], minlength=len(texts) * num_scripts
    ).reshape(len(texts), num_scripts)
    names = np.array(_NAMES, dtype=object)[counts.argmax(axis=1)]
    return np.where(counts.any(axis=1), names, NO_LETTERS)
