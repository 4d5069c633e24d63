"""What screening shows for its decisions: a pair that was turned away beside what it resembles."""

import pyarrow as pa

EVIDENCE_SCHEMA = pa.schema(
    [
        ("rule", pa.string()),  # as in the ledger
        ("uid", pa.string()),
        ("caption", pa.string()),
        ("thumbnail", pa.binary()),  # JPEG
        ("matched_to", pa.string()),  # uid of the pair that stayed, or task/split/number
        ("matched_caption", pa.string()),  # null where there is none
        ("matched_thumbnail", pa.binary()),  # JPEG
        ("distance", pa.float64()),  # by the rule's own measure; 0 is equal
    ]
)
"""One row per example; a few of each rule, not all."""
