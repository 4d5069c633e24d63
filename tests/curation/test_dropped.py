import dataclasses

import numpy as np
import pytest

from tests.fakes import candidates, pool_table, sign_vectors
from vl_pipeline.curation.dropped import ledger_of_drops
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.report import draw_curation
from vl_pipeline.curation.selection import Selection, concatenate
from vl_pipeline.curation.statistics import selection_statistics
from vl_pipeline.data.ledger import LEDGER_SCHEMA

REASONS = ("dropped", "rules", "too_small", "too_narrow")
RULES = {"too_small": "> 200", "too_narrow": "< 3"}


def answer(reason: list[int], value: list[float], rows: list[int] | None = None) -> Selection:
    rows = rows or list(range(len(reason)))
    return Selection(
        rows=np.array(rows),
        keep=np.array(reason) == 1,
        score=np.full(len(reason), np.nan, dtype=np.float32),
        nearest_target=np.full(len(reason), -1, dtype=np.int32),
        reason=np.array(reason, dtype=np.int8),
        reasons=REASONS,
        rules=RULES,
        value=np.array(value),
    )


NAN = float("nan")
ANSWER = answer([1, 2, 3, 0], [NAN, 199.0, 3.25, NAN], rows=[3, 0, 2, 1])


def test_each_drop_by_a_rule_is_a_row_with_what_was_found_and_what_is_accepted() -> None:
    pool = pool_table(4)

    ledger = ledger_of_drops(ANSWER, pool=pool)

    uids = pool["uid"].to_pylist()
    assert ledger.schema == LEDGER_SCHEMA
    assert ledger.to_pylist() == [
        {"stage": "curate", "shard": "0.tar", "key": "00000", "uid": uids[0]}
        | {"rule": "too_small", "value": "199", "limit": "> 200"},
        {"stage": "curate", "shard": "0.tar", "key": "00002", "uid": uids[2]}
        | {"rule": "too_narrow", "value": "3.25", "limit": "< 3"},
    ]


def test_a_curator_without_rules_has_an_empty_ledger() -> None:
    block = candidates(sign_vectors([1, 2]), sign_vectors([0]))

    ledger = ledger_of_drops(KeepAll().select(block), pool=block.pool)

    assert ledger.num_rows == 0
    assert ledger.schema == LEDGER_SCHEMA


def test_statistics_say_dropped_by_for_rules_and_kept_by_for_the_others() -> None:
    statistics = selection_statistics(ANSWER, num_targets=0)

    assert statistics == {
        "num_scanned": 4,
        "num_kept": 1,
        "keep_fraction": 0.25,
        "kept_by_rules": 1,
        "dropped_by_too_small": 1,
        "dropped_by_too_narrow": 1,
    }


def test_values_stay_with_their_pairs_when_parts_are_taken_and_joined() -> None:
    joined = concatenate([ANSWER[2:], ANSWER[:2]])

    assert joined.value[joined.rows.tolist().index(0)] == 199.0
    assert np.isnan(dataclasses.replace(ANSWER, threshold=0.5).value).tolist() == [
        *(True, False, False, True)
    ]


def test_a_curation_by_rules_draws_what_is_left_after_each(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    name = "vl_pipeline.curation.report.draw_rules"
    monkeypatch.setattr(name, lambda left, rules, path: drawn.append((left, rules, path.name)))

    draw_curation(tmp_path, ANSWER[:0], pool=pool_table(0), shards_folder="", target_texts=[])
    monkeypatch.setattr("vl_pipeline.curation.report._pictures", lambda *_: [])
    draw_curation(tmp_path, ANSWER, pool=pool_table(4), shards_folder="", target_texts=[])

    names = ["too small: > 200", "too narrow: < 3"]
    assert drawn == [([0, 0, 0], names, "rules.png"), ([4, 3, 2], names, "rules.png")]
