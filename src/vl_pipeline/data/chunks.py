"""Arrays that are made a chunk at a time and kept: a run that was stopped goes on where it was."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vl_pipeline.data.atomic import atomic_file
from vl_pipeline.data.digest import digest_of_code, digest_of_strings

_CHUNK = 2048  # rows in a file; of images, what is in memory at once


def made_in_chunks(
    ids: Sequence[str], make: Callable[[range], np.ndarray], *, folder: Path, desc: str
) -> Iterator[np.ndarray]:
    """Make the rows of an array in chunks, or read those that were made before.

    Args:
        ids: What each row is of; a chunk's file is named by the digest of its own.
        make: Makes the rows of these numbers.
        folder: Named by all that the rows depend on but their ids and this package's code.
        desc: Heads the progress bar.
    """
    own = folder / digest_of_code()
    for start in tqdm(range(0, len(ids), _CHUNK), desc=desc, unit="chunk", disable=None):
        rows = range(start, min(start + _CHUNK, len(ids)))
        file = own / f"{digest_of_strings(ids[row] for row in rows)}.npy"
        if not file.exists():
            with atomic_file(file) as temporary, open(temporary, "wb") as output:
                np.save(output, make(rows))
        yield np.load(file)
