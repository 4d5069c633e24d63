"""Pairs that somebody does not want, whatever they are: by uid, by image, or by URL."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.data.pair_lists import COLUMNS, read_pair_list
from vl_pipeline.screening.finding import Finding
from vl_pipeline.screening.pictures import Pictures


def blocked(pictures: Pictures, *, block_list: Path) -> Finding:
    """Find pairs whose uid, image hash or URL is listed.

    Raises:
        ParameterError: If the list cannot be read, or lists nothing.
    """
    listed, pairs = read_pair_list(block_list), pictures.pairs
    entry = pa.nulls(pairs.num_rows, pa.string())
    for column, values in zip(
        COLUMNS, (listed.uids, listed.image_hashes, listed.urls), strict=True
    ):
        found = pairs[column].combine_chunks()
        is_listed = pc.is_in(found, value_set=pa.array(sorted(values), pa.string()))
        entry = pc.coalesce(entry, pc.if_else(is_listed, found, None))
    rows = np.flatnonzero(pc.is_valid(entry).to_numpy(zero_copy_only=False))
    return Finding(
        rule="blocked",
        rows=rows,
        matched_to=entry.take(rows).to_pylist(),
        distance=np.zeros(len(rows)),
        unit=None,
        limit=f"not in {block_list.name}",
    )
