import base64
import io
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from PIL import Image

from tests.fakes import distinct_picture
from vl_pipeline.data.ledger import LEDGER_SCHEMA, Rejection, ledger_of
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.pipelines.validate.contract import ContractResult, Outcome
from vl_pipeline.pipelines.validate.report import render_report
from vl_pipeline.pipelines.validate.scripts import scripts_of
from vl_pipeline.screening.evidence import EVIDENCE_SCHEMA

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>\u202e\x00 & \'</td></table>'


def pool_of(captions: list[str]) -> pa.Table:
    rows = [
        {
            "uid": f"{n:032x}",
            "shard": "000.tar",
            "key": f"{n:05}",
            "image_offset": 512 * (n + 1),
            "image_bytes": 400,
            "image_hash": f"{1000 + n:032x}",
            "perceptual_hash": n.to_bytes(32, "big"),
            "colour_grid": n.to_bytes(48, "big"),
            "width": 64,
            "height": 48,
            "caption": caption,
            "url": None,
        }
        for n, caption in enumerate(captions)
    ]
    return pa.Table.from_pylist(rows, schema=PAIR_SCHEMA)


def rejections(stage: str, rule: str, count: int, value: str = "8") -> pa.Table:
    return ledger_of(
        stage,
        [
            Rejection(shard="000.tar", key=f"{rule}-{n}", rule=rule, value=value, limit=">= 32")
            for n in range(count)
        ],
    )


def outcome(
    *,
    success: bool,
    observed: str = "all 3",
    error: str | None = None,
    severity: str = "critical",
    description: str = "",
) -> Outcome:
    return Outcome(
        name="uid_once",
        is_promise=False,
        on_breach="stop",
        severity=severity,
        description=description,
        table="pairs",
        column="uid",
        expectation="expect_column_values_to_be_unique",
        expected="each once in the pool",
        observed=observed,
        unexpected_count=0 if success else 2,
        success=success,
        error=error,
        next_step="run ingest again",
    )


HOLDS = ContractResult(expectations=[outcome(success=True)])
BREAKS = ContractResult(expectations=[outcome(success=False, observed="2 of 3 in breach")])
POOL = pool_of(["a cat", "a cat", "a dog"])
NOTHING = LEDGER_SCHEMA.empty_table()
LEDGER = pa.concat_tables(
    [
        rejections("ingest", "failed_to_download", 2),
        rejections("ingest", "empty_caption", 7),
        rejections("validate", "image_too_small", 4),
    ]
)


def evidence_of(**changes: object) -> pa.Table:
    """One pair beside the one that it repeats."""
    row = {
        "rule": "near_duplicate",
        "uid": "a" * 32,
        "caption": "a cat, smaller",
        "thumbnail": distinct_picture(1),
        "matched_to": "b" * 32,
        "matched_caption": "a cat, larger",
        "matched_thumbnail": distinct_picture(2),
        "distance": 7.0,
        "unit": "bits",
    }
    return pa.Table.from_pylist([row | changes], schema=EVIDENCE_SCHEMA)


NO_EVIDENCE = EVIDENCE_SCHEMA.empty_table()


def render(
    result: ContractResult = HOLDS,
    pool: pa.Table = POOL,
    ledger: pa.Table = LEDGER,
    evidence: pa.Table = NO_EVIDENCE,
) -> str:
    num_listed = pool.num_rows + ledger.num_rows
    return render_report(result, pool=pool, ledger=ledger, num_listed=num_listed, evidence=evidence)


def texts_of_rows(page: str) -> list[str]:
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    return [re.sub(r"<[^>]*>", " ", row).strip() for row in rows]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.attributes: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]


def tags_of(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_equal_input_gives_equal_bytes():
    first, second = (render(BREAKS, evidence=evidence_of()) for _ in range(2))

    assert first == second


def test_the_page_says_at_the_top_that_a_whole_pool_keeps_its_contract():
    page = render(HOLDS)

    assert "The pool keeps its contract" in page
    assert "breaks" not in page


def test_the_page_says_at_the_top_what_failed_and_what_to_do():
    page = render(BREAKS)

    top = page[: page.index("<section")]
    assert "The pool breaks its contract" in top
    assert "uid_once: pairs.uid: expected each once in the pool; found 2 of 3 in breach" in top
    assert "run ingest again" in top


def test_an_expectation_that_could_not_be_checked_shows_its_error():
    result = ContractResult(expectations=[outcome(success=False, error="no such column")])

    assert "error: no such column" in render(result)


def test_the_accounts_add_up_by_stage_and_rule():
    rows = texts_of_rows(render())

    accounts = [row.split()[:3] for row in rows if "Examples" in row]
    assert accounts == [
        ["ingest", "empty_caption", "7"],
        ["ingest", "failed_to_download", "2"],
        ["validate", "image_too_small", "4"],
    ]
    assert ["all", "13", "81.25%"] in [row.split() for row in rows]  # 13 of 16 listed


def test_accounts_that_do_not_add_up_are_pointed_out():
    page = render_report(
        BREAKS,
        pool=POOL,
        ledger=LEDGER,
        num_listed=20,  # 3 kept + 13 turned away = 16
        evidence=NO_EVIDENCE,
    )

    assert "does not add up: +4" in page
    assert "does not add up" not in render()


def test_five_examples_at_most_stand_beside_each_rule():
    page = render()

    assert page.count("empty_caption-") == 5
    assert page.count("failed_to_download-") == 2


def test_repeated_captions_and_images_are_counted_most_frequent_first():
    pool = pool_of(["a dog", "a dog", "a cat", "a cat", "a cat", "once only"])

    page = render(pool=pool)

    assert page.index("a cat") < page.index("a dog")
    assert "once only" not in page
    assert "None occurs twice" in page  # the images


def test_ten_repeated_captions_are_shown_and_ties_go_by_name():
    captions = [f"words {letter}" for letter in "lkjihgfedcba"]

    page = render(pool=pool_of(captions * 2))

    assert re.findall(r"words ([a-l])\b", page) == list("abcdefghij")


@pytest.mark.parametrize("where", ["caption", "key", "shard"])
def test_hostile_text_of_the_pool_reaches_the_page_escaped(where):
    pool = pool_of(["a cat", "a cat"])
    column = pool.column_names.index(where)
    hostile = pool.set_column(column, where, pa.array([HOSTILE, HOSTILE]))

    page, harmless = tags_of(render(pool=hostile)), tags_of(render(pool=pool))

    assert page.opened == harmless.opened
    assert page.attributes == harmless.attributes
    assert "&lt;script&gt;alert(&quot;1&quot;)" in render(pool=hostile)


@pytest.mark.parametrize("where", ["stage", "rule", "shard", "key", "value", "limit"])
def test_hostile_text_of_the_ledger_reaches_the_page_escaped(where):
    column = LEDGER_SCHEMA.names.index(where)
    ledger = rejections("ingest", "failed_to_download", 1)
    hostile = ledger.set_column(column, where, pa.array([HOSTILE]))

    page, harmless = tags_of(render(ledger=hostile)), tags_of(render(ledger=ledger))

    assert page.opened == harmless.opened
    assert page.attributes == harmless.attributes


def test_hostile_text_in_an_outcome_reaches_the_page_escaped():
    hostile = ContractResult(
        expectations=[outcome(success=False, observed=HOSTILE, description=HOSTILE)]
    )

    assert tags_of(render(hostile)).opened == tags_of(render(BREAKS)).opened


def test_the_page_loads_nothing_from_outside_and_runs_nothing():
    page = render(BREAKS, evidence=evidence_of())

    tags = tags_of(page)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(tags.opened)
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert all(re.match(r"#s\d+$|data:image/jpeg;base64,[\w+/=]+$", where) for where in tags.loaded)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert "url(" not in page


def test_each_link_of_the_navigation_leads_to_a_section():
    page = render()

    links = re.findall(r'href="#(\w+)"', page)
    assert links == re.findall(r'<section id="(\w+)"', page)
    assert len(links) == 7


def test_a_lesser_failure_is_told_and_does_not_break_the_contract():
    lesser = ContractResult(expectations=[outcome(success=False, severity="warning")])

    page = render(lesser)

    assert "keeps its contract, with reservations" in page
    assert '<header class="warn">' in page
    assert "so the run stops" not in page


def test_a_pair_turned_away_stands_beside_what_it_resembles():
    page = render(evidence=evidence_of(), ledger=rejections("screen", "near_duplicate", 5))

    assert "1 of 5 turned away" in page
    assert "7 bits" in page
    assert page.index("a cat, smaller") < page.index("a cat, larger")
    assert len(re.findall("<img", page)) == 2


def test_twelve_matches_of_each_rule_are_shown_nearest_first():
    rows = [evidence_of(distance=float(d), rule=r) for r in "ba" for d in range(20, 0, -1)]

    page = render(evidence=pa.concat_tables(rows))

    nearest = [str(d) for d in range(1, 13)]
    assert re.findall(r"<b>(\d+) bits", page) == nearest + nearest


def test_a_thumbnail_is_encoded_anew_and_small():
    file = io.BytesIO()
    picture = Image.new("RGB", (900, 300))
    picture.save(file, "JPEG", comment=b"<script>", exif=picture.getexif())

    page = render(evidence=evidence_of(thumbnail=file.getvalue()))

    shown = base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])
    assert Image.open(io.BytesIO(shown)).size == (192, 64)
    assert b"<script>" not in shown


@pytest.mark.parametrize("data", [None, b"", b"<script>", distinct_picture(1)[:-40]])
def test_what_is_no_picture_is_said_to_be_none(data):
    page = render(evidence=evidence_of(thumbnail=data, matched_caption=None, distance=None))

    assert page.count("no picture") == 1
    assert len(re.findall("<img", page)) == 1


@pytest.mark.parametrize("where", ["rule", "uid", "caption", "matched_to", "matched_caption"])
def test_hostile_text_of_the_evidence_reaches_the_page_escaped(where):
    page = tags_of(render(evidence=evidence_of(**{where: HOSTILE + '" onload="x'})))
    harmless = tags_of(render(evidence=evidence_of()))

    assert page.opened == harmless.opened
    assert page.attributes == harmless.attributes


def test_captions_are_counted_by_the_script_of_most_letters():
    captions = pa.array(
        ["a cat", "кот", "猫がいる", "日本 2020", "고양이", "قطة", "γάτα", "חתול", "बिल्ली", "แมว",
         "42 🙂!", "", "Straße é", "кот cats"]
    )  # fmt: skip

    assert scripts_of(captions).tolist() == [
        "Latin", "Cyrillic", "Kana", "Han", "Hangul", "Arabic", "Greek", "Hebrew", "Devanagari",
        "Thai", "no letters", "no letters", "Latin", "Latin",
    ]  # fmt: skip


def test_the_page_says_when_captions_were_sampled(monkeypatch):
    monkeypatch.setattr("vl_pipeline.pipelines.validate.report._NUM_CAPTIONS_READ", 10)
    pool = pool_of(["a cat"] * 30 + ["кот"] * 10)

    page = render(pool=pool)

    assert "Sampled: 10 of 40 captions were read (seed 0)" in page
    assert "Sampled" not in render(pool=pool.slice(0, 10))


def test_image_sizes_are_drawn_with_their_counts():
    sizes = [(64, 48)] * 3 + [(500, 20), (40_000_000, 1)]
    pool = POOL.take([0] * len(sizes))
    for name, values in zip(("width", "height"), zip(*sizes, strict=True), strict=True):
        column = pa.array(values, pa.int32())
        pool = pool.set_column(pool.column_names.index(name), name, column)

    page = render(pool=pool)

    assert sorted(re.findall(r"<title>[^<]*: (\d+)</title>", page)) == ["1", "1", "3"]


def test_long_captions_are_cut():
    assert "x" * 201 not in render(pool=pool_of(["x" * 5000, "x" * 5000]))


def test_an_empty_pool_with_an_empty_ledger_still_has_a_page():
    page = render(BREAKS, pool=PAIR_SCHEMA.empty_table(), ledger=NOTHING)

    assert "Nothing was turned away" in page
    assert "<svg" not in page


@pytest.mark.parametrize("name", ["width", "caption", "image_hash", "shard"])
def test_a_pool_that_lacks_a_column_still_has_a_page(name):
    assert "The pool breaks its contract" in render(BREAKS, pool=POOL.drop_columns([name]))


def test_a_column_of_another_type_is_left_out_of_the_page():
    widths = pa.array(["wide", "wider", "widest"])
    pool = POOL.set_column(POOL.column_names.index("width"), "width", widths)

    assert render(BREAKS, pool=pool).count("<svg") == 2  # the caption's lengths alone


def test_one_pair_gives_one_bar_in_each_histogram():
    page = render(pool=pool_of(["a cat"]))

    assert page.count("<svg") == 6
    assert page.count("<rect") == 6


def test_a_histogram_draws_up_to_the_99th_percentile_and_counts_the_rest():
    captions = ["x" * n for n in range(1, 100)] + ["x" * 5000]

    page = render(pool=pool_of(captions))

    assert "from 1 to 5000; 1 beyond 99 not drawn" in page


def test_images_repeated_most_are_shown_as_pictures_and_as_no_match():
    pool = pool_of(["one", "two", "three"])
    image_hash = "7" * 32
    pool = pool.set_column(
        pool.schema.get_field_index("image_hash"), "image_hash", pa.array([image_hash] * 3)
    )
    row = {"rule": "repeated_image", "matched_to": image_hash, "thumbnail": distinct_picture(3)}
    evidence = pa.Table.from_pylist([row], schema=EVIDENCE_SCHEMA)

    page = render_report(
        ContractResult(expectations=[outcome(success=True)]),
        pool=pool,
        ledger=LEDGER_SCHEMA.empty_table(),
        num_listed=3,
        evidence=evidence,
    )

    images = page.partition("<h2>Repeated images</h2>")[2]
    assert images.count("<img ") == page.count("<img ") == 1
    assert image_hash in images
    assert "Nothing that was turned away resembles" in page
