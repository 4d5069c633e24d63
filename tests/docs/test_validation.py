"""The page on validation says what there is, and its entries, as they stand, work."""

import re

import pytest
import yaml

from tests.fakes import pool_table
from tests.projects import ROOT
from vl_pipeline.data.expectations import COLUMNS_OF_TABLE, Expectation, Expectations, drop_pairs
from vl_pipeline.data.pair_expectations import PAIR_EXPECTATIONS
from vl_pipeline.pipelines.validate.contract import check_contract

PAGE = (ROOT / "docs/validation.md").read_text()
BASE = yaml.safe_load((ROOT / "conf/base/parameters_expectations.yml").read_text())
CAPTIONS = [
    "a red bicycle against a wall", "Stock Image of a bicycle", "stockings on a line",
    "x" * 301, "a cat asleep", "untitled", "IMG_0423",
]  # fmt: skip


@pytest.fixture(scope="module")
def entries() -> Expectations:
    (block,) = re.findall(r"^```yaml my entries\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    mine = yaml.safe_load(block)["expectations"]
    return Expectations.model_validate(BASE["expectations"] | mine)


def test_the_entries_of_the_page_drop_what_they_say(entries):
    kept, ledger = drop_pairs(pool_table(len(CAPTIONS), caption=CAPTIONS), entries)

    assert [CAPTIONS[n] for n in (0, 2, 4, 5, 6)] == kept["caption"].to_pylist()
    assert ledger["rule"].to_pylist() == ["stock_photo", "caption_too_long"]
    assert ledger["value"].to_pylist() == ["Stock Image of a bicycle", "301"]


def test_the_entries_of_the_page_warn_and_stop_over_what_is_left(entries):
    captions = {"caption": CAPTIONS}
    kept, ledger = drop_pairs(pool_table(len(CAPTIONS), **captions), entries)

    result = check_contract(kept, num_listed=len(CAPTIONS), ledger=ledger, expectations=entries)

    failed = {o["name"]: o["severity"] for o in result.failed if not o["is_promise"]}
    assert failed == {"mostly_sentences": "warning", "enough_shards": "critical"}
    assert "enough_shards" in str(result.breach)
    assert "mostly_sentences" not in str(result.breach)


def test_the_page_names_every_key_column_and_expectation_that_drops():
    named = set(re.findall(r"`(\w+)`", PAGE))

    assert {name for names in COLUMNS_OF_TABLE.values() for name in names} <= named
    assert set(PAIR_EXPECTATIONS) <= named
    assert set(Expectation.model_fields) - {"settings"} <= named
