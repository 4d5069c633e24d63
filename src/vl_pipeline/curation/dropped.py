"""What a curator's rules dropped, on paper: one row per pair, in the ledger's columns."""

import numpy as np
import pyarrow as pa

from vl_pipeline.curation.selection import Selection
from vl_pipeline.data.ledger import LEDGER_SCHEMA
from vl_pipeline.data.pair_expectations import in_ledger


def ledger_of_drops(selection: Selection, *, pool: pa.Table) -> pa.Table:
    """Write down which rule dropped each pair, what it found and what it accepts.

    Pairs that no rule dropped by name (those that score below a threshold, say) are not listed:
    they are what is in neither the manifest nor this ledger.
    """
    rules = np.array(selection.reasons, dtype=object)[selection.reason]
    places = np.flatnonzero(np.isin(rules, list(selection.rules)))
    names = rules[places].tolist()
    dropped = pool.select(["shard", "key", "uid"]).take(selection.rows[places])
    columns = {name: dropped[name] for name in dropped.column_names}
    columns |= {
        "stage": pa.repeat("curate", len(names)),
        "rule": pa.array(names, pa.string()),
        "value": in_ledger(pa.chunked_array([selection.value[places]])),
        "limit": pa.array([selection.rules[name] for name in names], pa.string()),
    }
    return pa.table(columns).select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA)
