"""What the contract measures on a pool, and what it expects, as Great Expectations' expectations.

An expectation's description says what is accepted, its notes say what to do on a breach.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vl_pipeline.data.digest import DIGEST_BYTES
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.data.rules import PairRules

if TYPE_CHECKING:  # importing it costs seconds, so the functions that need it do
    from great_expectations.expectations.expectation import Expectation

OUR_DEFECT = (
    "ingest and the pair rules should have seen to this: run `kedro run --pipelines ingest` "
    "again, and if it stays report it with this message"
)
_NULLABLE = ("url",)
_DIGEST = rf"^[0-9a-f]{{{2 * DIGEST_BYTES}}}\Z"


def with_measures(pool: pa.Table) -> pa.Table:
    """Append what the contract measures on each pair.

    What cannot be measured, because a column is missing or of the wrong type, is left out; the
    expectations about it then cannot be checked, and so fail.
    """
    for name, measure in _MEASURES.items():
        try:
            pool = pool.append_column(name, measure(pool))
        except (KeyError, pa.ArrowException):
            continue
    return pool


def _shorter_side(pool: pa.Table) -> pa.ChunkedArray:
    return pc.min_element_wise(pool["width"], pool["height"], skip_nulls=False)


def _aspect(pool: pa.Table) -> pa.ChunkedArray:
    longer = pc.max_element_wise(pool["width"], pool["height"], skip_nulls=False)
    return pc.divide(pc.cast(longer, pa.float64()), _shorter_side(pool))


_MEASURES: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "caption_characters": lambda pool: pc.utf8_length(pool["caption"]),
    "visible_characters": lambda pool: pc.utf8_length(pc.utf8_trim_whitespace(pool["caption"])),
    "shorter_side_px": _shorter_side,
    "aspect": _aspect,
}


def column_expectations() -> list["Expectation"]:
    """State the columns and types of `PAIR_SCHEMA`, about one row that holds the types found."""
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectTableColumnsToMatchOrderedList(
            column_list=PAIR_SCHEMA.names,
            description=f"the columns {', '.join(PAIR_SCHEMA.names)}, in this order",
        ),
        *(
            gxe.ExpectColumnMostCommonValueToBeInSet(
                column=field.name, value_set=[str(field.type)], description=f"of type {field.type}"
            )
            for field in PAIR_SCHEMA
        ),
    ]


def pair_expectations(rules: PairRules) -> list["Expectation"]:
    """State what holds for every pair, about the pool `with_measures`."""
    import great_expectations.expectations as gxe

    def between(column: str, low: float | None, high: float | None, words: str) -> "Expectation":
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, description=words
        )

    shortest, longest = rules.min_caption_characters, rules.max_caption_characters
    digest_in_words = f"{2 * DIGEST_BYTES} hexadecimal digits, lower case"
    return [
        *(
            gxe.ExpectColumnValuesToNotBeNull(column=name, description="never null")
            for name in PAIR_SCHEMA.names
            if name not in _NULLABLE
        ),
        *(
            gxe.ExpectColumnValuesToMatchRegex(
                column=name, regex=_DIGEST, description=digest_in_words
            )
            for name in ("uid", "image_hash")
        ),
        gxe.ExpectColumnValuesToBeUnique(column="uid", description="each once in the pool"),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["shard", "key"], description="each key once in its shard"
        ),
        between("caption_characters", shortest, longest, f"{shortest} to {longest} characters"),
        between("visible_characters", 1, None, "not blank"),
        between("shorter_side_px", rules.min_side_px, None, f"at least {rules.min_side_px} px"),
        between("aspect", None, rules.max_aspect, f"at most {rules.max_aspect} to 1"),
        between("image_offset", 1, None, "positive: an archive starts with a header"),
        between("image_bytes", 1, None, "positive"),
    ]


def account_expectations(
    *, min_pairs: int, max_rejected_fraction: float, most_rejected: str
) -> list["Expectation"]:
    """State what the pool as a whole must offer, about one row of accounts.

    Args:
        min_pairs: See `PoolContract`.
        max_rejected_fraction: See `PoolContract`.
        most_rejected: Which rule turned away most, in words for who must act on a breach.
    """
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnMaxToBeBetween(
            column="unaccounted",
            min_value=0,
            max_value=0,
            description="listed = kept + rejected, nothing left over",
            notes=OUR_DEFECT,
        ),
        gxe.ExpectColumnMinToBeBetween(
            column="kept",
            min_value=min_pairs,
            description=f"at least {min_pairs} pairs",
            notes=f"{most_rejected}; name more shards (pool.shards), loosen pair_rules, or lower "
            f"contract.min_pairs (conf/base/parameters_pool.yml)",
        ),
        gxe.ExpectColumnMaxToBeBetween(
            column="rejected_fraction",
            max_value=max_rejected_fraction,
            description=f"at most {max_rejected_fraction} of everything listed",
            notes=f"{most_rejected}; see the ledger, repair the shards or loosen pair_rules, or "
            f"raise contract.max_rejected_fraction (conf/base/parameters_pool.yml)",
        ),
    ]
