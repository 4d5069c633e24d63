import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vl_pipeline.curation.keywords import Keywords, singular
from vl_pipeline.errors import CurationError


@pytest.mark.parametrize(
    ("text", "caption", "is_named"),
    [
        ("apple", "An APPLE a day", True),
        ("apple", "pineapple", False),
        ("apple", "two apples.", True),
        ("apples", "one apple", True),
        ("red apple", "a red-apple, cut", True),
        ("red apple", "red and apple", False),
        ("cherry", "cherries on a plate", True),
        ("peach", "peaches", True),
        ("glass", "glasses", True),
        ("bus", "the bus", True),
        ("bus", "bu", False),
        ("straße", "STRASSE", True),
        ("りんご", "りんご", True),
        ("oat milk", "oat_milk", True),
        ("golden_retriever", "a golden retriever", True),
    ],
)
def test_a_text_is_named_by_its_words(text, caption, is_named):
    assert ([0] if is_named else []) == Keywords([text]).named_in(caption)


def test_overlapping_and_nested_texts_are_all_found_once():
    keywords = Keywords(["milk", "oat milk", "milk jug", "soy milk", "Milks"])

    assert keywords.named_in("oat milk jug of milk") == [0, 1, 2, 4]


words = st.sampled_from(["red", "apple", "apples", "milk", "oat", "a", "of", "jug"])
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)


@given(st.lists(phrases, min_size=1, max_size=6), st.lists(words, max_size=12).map(" ".join))
def test_one_pass_finds_what_looking_for_each_text_finds(texts, caption):
    def fold(text: str) -> str:
        return " ".join(singular(word) for word in text.split())

    expected = [
        n
        for n, t in enumerate(texts)
        if re.search(rf"(^| ){re.escape(fold(t))}( |$)", fold(caption))
    ]

    assert expected == Keywords(texts).named_in(caption)


def test_texts_without_words_are_refused_with_what_to_look_at():
    with pytest.raises(CurationError, match=r"none of the 2 target texts.*classnames\.txt"):
        Keywords(["", " - "])
