"""Pairs that somebody does not want, whatever they are: by uid, by image, or by URL."""

from pathlib import Path

import numpy as np

from vl_pipeline.data.pair_lists import read_pair_list
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.pictures import Pictures


def blocked(pictures: Pictures, *, block_list: Path) -> Finding:
    """Find pairs whose uid, image hash or URL is listed.

    Raises:
        ParameterError: If the list cannot be read, or lists nothing.
    """
    entry = read_pair_list(block_list).entry_of(pictures.pairs)
    rows = np.flatnonzero(entry.is_valid().to_numpy())
    return Finding(
        rule="blocked",
        rows=rows,
        matched_to=entry.take(rows).to_pylist(),
        distance=np.zeros(len(rows)),
        unit=None,
        limit=f"not in {block_list.name}",
    )
