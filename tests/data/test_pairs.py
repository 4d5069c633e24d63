import json
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import LIMITS, picture
from vl_pipeline.data.pairs import PairLimits, UnusablePairError, read_pair
from vl_pipeline.data.tar import Member

IMAGE = picture(width=24, height=16)


def read(
    *,
    key: str = "0",
    limits: PairLimits = LIMITS,
    kinds: dict[str, str] | None = None,
    **contents: str | bytes | dict,
) -> dict:
    """Read a pair of members given by suffix; the image is whole unless given."""
    data, members = b"", []
    for suffix, content in {"jpg": IMAGE, **contents}.items():
        content = json.dumps(content) if isinstance(content, dict) else content
        content = content.encode() if isinstance(content, str) else content
        kind = (kinds or {}).get(suffix, "file")
        members.append(Member(suffix=suffix, offset=len(data), num_bytes=len(content), kind=kind))
        data += content
    return read_pair(data, "0.tar", key, members, limits)


def refusal(**contents) -> tuple[str, str, str]:
    """Rule, value and limit under which a pair is turned away."""
    with pytest.raises(UnusablePairError) as found:
        read(**contents)
    return found.value.rule, found.value.value, found.value.limit


@pytest.mark.parametrize(
    ("limit", "size", "rule", "value"),
    [
        (
            "max_pixels",
            24 * 16,
            "image_too_many_pixels",
            "image of 24x16 px exceeds the limit of 383 pixels",
        ),
        ("max_image_bytes", len(IMAGE), "image_too_many_bytes", f"{len(IMAGE)} bytes"),
        ("max_caption_bytes", 7, "caption_too_many_bytes", "7 bytes"),
        ("max_json_bytes", 17, "json_too_many_bytes", "17 bytes"),
    ],
)
def test_pair_on_a_limit_is_read_and_beyond_it_is_not(limit, size, rule, value):
    contents = {"json": '{"caption": "ca"}'} if limit == "max_json_bytes" else {"txt": "a été"}

    assert read(**contents, limits=replace(LIMITS, **{limit: size}))["caption"]
    found = refusal(**contents, limits=replace(LIMITS, **{limit: size - 1}))

    assert found[:2] == (rule, value)
    assert str(size - 1) in found[2]


def test_caption_of_the_json_has_the_same_limit():
    contents = {"json": {"caption": "a été"}}

    assert read(**contents, limits=replace(LIMITS, max_caption_bytes=7))["caption"] == "a été"
    found = refusal(**contents, limits=replace(LIMITS, max_caption_bytes=6))

    assert found == ("caption_too_many_bytes", "7 bytes", "<= 6 bytes")


class Archive(bytes):
    """Bytes that may only be looked at in small pieces."""

    def __getitem__(self, where):
        assert where.stop - where.start < 1000, "what is over the limit was read"
        return super().__getitem__(where)


@pytest.mark.parametrize(
    ("suffix", "rule"),
    [
        ("jpg", "image_too_many_bytes"),
        ("txt", "caption_too_many_bytes"),
        ("json", "json_too_many_bytes"),
    ],
)
def test_what_is_over_a_limit_is_not_read(suffix, rule):
    sizes = {"jpg": 500, "txt": 5, "json": 2} | {suffix: 10**9}
    if suffix == "json":
        del sizes["txt"]  # else the pair has a caption without it
    members = [
        Member(suffix=name, offset="a cat{}".index("{") if name == "json" else 0, num_bytes=size)
        for name, size in sizes.items()
    ]

    with pytest.raises(UnusablePairError) as found:
        read_pair(Archive(b"a cat{}"), "0.tar", "0", members, LIMITS)

    assert found.value.rule == rule


@pytest.mark.parametrize("suffix", ["jpg", "txt", "json"])
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "device", "pipe", "sparse file"])
def test_part_that_is_no_file_is_named(suffix, kind):
    caption = {} if suffix == "json" else {"txt": "a cat"}
    found = refusal(**caption, json={"url": None}, kinds={suffix: kind})

    assert found == ("not_a_file", f".{suffix}: {kind}", "a regular file")


def test_image_that_is_no_file_is_named_before_the_caption_that_is_not_there():
    assert refusal(kinds={"jpg": "symbolic link"})[0] == "not_a_file"


def test_other_members_may_be_what_they_are():
    assert read(txt="a cat", npy=b"", kinds={"npy": "symbolic link"})["caption"] == "a cat"


@pytest.mark.parametrize(
    "key", ["../a", "a/../b", "a/..", "..", "/etc/a", "/", "a\0b", "a\nb", "\x1b[2Ja", "a\x7f"]
)
def test_name_that_could_do_harm_is_refused_and_shown_escaped(key):
    rule, value, _ = refusal(key=key, txt="a cat")

    assert rule == "unsafe_name"
    assert ascii(key) == value


def test_ledger_shows_the_beginning_of_a_name_without_end():
    assert len(refusal(key="/" + "n" * 2**20, txt="a cat")[1]) == 200


@pytest.mark.parametrize("key", ["a/b", "..a", "a..b/c", "a\\b", "ünï códe", "a/.b", ""])
def test_odd_name_is_only_a_name(key):
    assert read(key=key, txt="a cat")["key"] == key


@pytest.mark.parametrize(
    "caption",
    [
        "صورة تفاحة حمراء",
        "\u202bתפוח אדום\u202c",  # noqa: RUF001
        "a red 🍎 and a 👩‍👩‍👧‍👦",
        "❤️",
        "नमस्ते दुनिया",
        "a\u200bp\u200bp\u200ble",
        "line one\nline two\r\n\tthree",
        "e\u0301",
        "It\x92s a cat",
        "private \ue000",
    ],
)
def test_caption_in_any_script_stays_as_it_is(caption):
    assert read(txt=caption)["caption"].encode() == caption.encode()
    assert read(json={"caption": caption})["caption"].encode() == caption.encode()


def test_byte_order_mark_and_white_space_around_it_are_no_part_of_a_caption():
    assert read(txt=b"\xef\xbb\xbf a red car\n")["caption"] == "a red car"
    assert read(txt=b"\xef\xbb\xbfa red car")["uid"] == read(txt="a red car")["uid"]


@pytest.mark.parametrize("code", [*range(9), *range(0x0E, 0x20), 0x7F])
@pytest.mark.parametrize("where", ["txt", "json"])
def test_caption_with_a_control_character_is_refused(code, where):
    caption = f"a {chr(code)} cat"

    found = refusal(**{where: caption if where == "txt" else {"caption": caption}})

    assert found == (
        "control_characters",
        f"{chr(code)!a} at character 2",
        "text and white space",
    )


@pytest.mark.parametrize(
    "caption",
    [
        "",
        " \n\t ",
        "\u200b",
        "\u200b \u200d\ufeff",
        "\u202b\u202c",
        "\u00ad",
        "\u2800",
        "\u3164\uffa0\u115f\u1160",
        "\ufe0f",
        "\U000e0100",
        "\u2028\u2029",
        "\x85\x92",
    ],
    ids=ascii,
)
def test_caption_that_shows_nothing_is_empty(caption):
    assert refusal(txt=caption)[0] == "empty_caption"


@pytest.mark.parametrize("caption", [".", "a", "🍎", "\u0301", "中", "0", "\U0010ffff"], ids=ascii)
def test_caption_that_shows_one_thing_is_not_empty(caption):
    assert read(txt=caption)["caption"] == caption


@pytest.mark.parametrize(
    "side",
    [
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b"9" * 5000,
        b"{",
        b"",
        b"\xff\xfe\x00",
        b'{"caption": "a" "b"}',
        b"\x00\x00",
    ],
    ids=["lists", "objects", "digits", "cut", "empty", "bytes", "no comma", "zeros"],
)
def test_json_that_cannot_be_read_costs_the_caption_it_may_hold_and_little_memory(side):
    tracemalloc.start()
    try:
        rule, value, limit = refusal(json=side)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (rule, limit) == ("unreadable_json", "JSON")
    assert len(value) < 300
    assert peak < 30 * 2**20
    assert read(txt="a cat", json=side)["is_json_broken"]


def test_of_a_name_that_json_says_twice_the_last_counts():
    assert read(json=b'{"caption": "first", "caption": "last"}')["caption"] == "last"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | ANYTHING.map(json.dumps).map(str.encode), st.integers(0, 60))
def test_whatever_json_lies_beside_a_caption_the_pair_is_read(side, cut):
    pair = read(txt="a cat", json=side[: len(side) - cut % 7])

    assert pair["caption"] == "a cat"
    assert pair["url"] is None or isinstance(pair["url"], str)


@settings(max_examples=50, deadline=None)
@given(ANYTHING, ANYTHING)
def test_whatever_json_says_of_caption_and_url_is_utf_8_or_refused(caption, url):
    with suppress(UnusablePairError):
        pair = read(json=json.dumps({"caption": caption, "url": url}))
        assert pair["caption"].encode().decode() == pair["caption"]
        assert pair["caption"] == caption.strip()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_caption_is_read_as_its_bytes_say_or_refused(data):
    with suppress(UnusablePairError):
        caption = read(txt=data)["caption"]
        assert caption == data.removeprefix(b"\xef\xbb\xbf").decode().strip()
        assert caption
