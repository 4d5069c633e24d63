import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import pool_table
from tests.projects import ROOT
from vl_pipeline.curation.column_rules import ColumnRules
from vl_pipeline.curation.selection import Candidates, Selection
from vl_pipeline.errors import CurationError

PAPER = yaml.safe_load((ROOT / "conf/align_paper/parameters.yml").read_text())["align"]["curation"]

# name of the rule in the paper's preset, what the pool has, and whether the pair is kept
LIMITS = [
    ("image_too_small", {"width": 400, "height": 201}, True),  # larger than 200 px
    ("image_too_small", {"width": 400, "height": 200}, False),
    ("image_too_narrow", {"width": 899, "height": 300}, True),  # smaller than 3
    ("image_too_narrow", {"width": 300, "height": 900}, False),
    ("image_with_many_captions", {"captions_of_image": 1000}, True),  # more than 1,000 are dropped
    ("image_with_many_captions", {"captions_of_image": 1001}, False),
    ("caption_of_many_images", {"images_of_caption": 10}, True),  # more than 10 are dropped
    ("caption_of_many_images", {"images_of_caption": 11}, False),
    ("caption_too_short", {"num_unigrams": 3}, True),
    ("caption_too_short", {"num_unigrams": 2}, False),
    ("caption_too_long", {"num_unigrams": 20}, True),
    ("caption_too_long", {"num_unigrams": 21}, False),
    ("rare_token", {"rarest_ngram_rank": 100_000_000}, True),  # the 100 million most frequent
    ("rare_token", {"rarest_ngram_rank": 100_000_001}, False),
]
GOOD = {
    **{"width": 640, "height": 480, "captions_of_image": 1, "images_of_caption": 1},
    **{"num_unigrams": 8, "rarest_ngram_count": 50, "rarest_ngram_rank": 1000},
}


def ask(rules: dict, pairs: list[dict], **columns: list) -> Selection:
    pool = pool_table(len(pairs), **{n: [p[n] for p in pairs] for n in ("width", "height")})
    for name in GOOD.keys() - set(pool.column_names):
        pool = pool.append_column(name, pa.array([pair[name] for pair in pairs], pa.int64()))
    for name, values in columns.items():
        pool = pool.append_column(name, pa.array(values))
    curator = ColumnRules(rules=rules)
    return curator.select(
        Candidates(
            rows=np.arange(len(pairs)),
            pool=pool,
            target_texts=[],
            encode_captions=lambda _: pytest.fail("rules need no features"),
            encode_targets=lambda: pytest.fail("rules need no features"),
        )
    )


@pytest.mark.parametrize(("rule", "found", "is_kept"), LIMITS)
def test_each_rule_of_the_paper_is_as_strict_as_published(
    rule: str, found: dict, is_kept: bool
) -> None:
    selection = ask(PAPER["rules"], [GOOD | found])

    assert selection.keep.tolist() == [is_kept]
    assert selection.reasons[selection.reason[0]] == ("rules" if is_kept else rule)


def test_every_rule_of_the_paper_is_tested_on_both_sides() -> None:
    assert {rule for rule, _, _ in LIMITS} == {n for n, rule in PAPER["rules"].items() if rule}


def test_a_pair_that_breaks_several_rules_is_dropped_by_the_first() -> None:
    rules = {
        "small": {"column": "shorter_side_px", "min_value": 200, "strict_min": True},
        "off": None,
        "narrow": {"column": "aspect", "max_value": 3, "strict_max": True},
    }

    selection = ask(rules, [GOOD, GOOD | {"height": 100}, GOOD | {"height": 210, "width": 700}])

    assert selection.reasons == ("dropped", "rules", "small", "narrow")
    assert selection.reason.tolist() == [1, 2, 3]
    assert selection.rules == {"small": "shorter_side_px > 200", "narrow": "aspect < 3"}
    assert selection.value[1:].tolist() == [100, 700 / 210]
    assert np.isnan(selection.value[0])


def test_without_rules_every_pair_is_kept() -> None:
    assert ask({}, [GOOD, GOOD]).keep.all()
    assert ask({"off": None}, []).keep.tolist() == []


def test_unsafe_images_are_dropped_by_a_column_that_the_pool_carries() -> None:
    rules = {"unsafe_image": {"column": "punsafe", "max_value": 0.5}}

    selection = ask(rules, [GOOD] * 3, punsafe=[0.5, 0.51, None])

    assert selection.keep.tolist() == [True, False, True]


def test_a_column_that_is_not_there_or_holds_no_numbers_is_an_error_that_says_so() -> None:
    with pytest.raises(CurationError, match=r"'unsafe' is about the column 'punsafe', which"):
        ask({"unsafe": {"column": "punsafe", "max_value": 0.5}}, [GOOD])
    with pytest.raises(CurationError, match=r"'odd' is about the column 'key' of type string"):
        ask({"odd": {"column": "key", "max_value": 0.5}}, [GOOD])


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 9), st.integers(0, 9))
def test_kept_and_dropped_add_up_and_raising_a_limit_drops_no_more(
    found: list[int], limit: int, more: int
) -> None:
    pairs = [GOOD | {"num_unigrams": n} for n in found]
    ranges = [{"column": "num_unigrams", "max_value": value} for value in (limit, limit + more)]

    strict, loose = (ask({"long": bounds}, pairs) for bounds in ranges)

    counts = strict.count_by_reason()
    assert counts["rules"] + counts["long"] == len(found)
    assert (strict.keep <= loose.keep).all()


def test_the_answer_does_not_depend_on_blocks() -> None:
    pairs = [GOOD | {"num_unigrams": n} for n in (1, 5, 30)]

    whole = ask(PAPER["rules"], pairs)
    parts = [ask(PAPER["rules"], [pair]) for pair in pairs]

    assert whole.reason.tolist() == [int(part.reason[0]) for part in parts]
