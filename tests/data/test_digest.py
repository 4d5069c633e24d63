from hypothesis import given
from hypothesis import strategies as st

from vl_pipeline.data.digest import (
    digest_of_bytes,
    digest_of_code,
    digest_of_strings,
    digest_of_value,
)


def test_digest_is_32_hexadecimal_digits():
    digest = digest_of_bytes(b"a pair")

    assert len(digest) == 32
    assert set(digest) <= set("0123456789abcdef")


def test_digest_is_the_same_in_every_version():
    # hashlib.blake2b(b"\x01" + 7 * b"\0" + b"x", digest_size=16); another value would give every
    # pool and every curated set a new identity
    assert digest_of_bytes(b"x") == "1ff47a876f42e33dda291cecd644c99d"


@given(st.lists(st.binary(max_size=4), max_size=5), st.lists(st.binary(max_size=4), max_size=5))
def test_parts_are_told_apart(first, second):
    assert (first == second) == (digest_of_bytes(*first) == digest_of_bytes(*second))


def test_order_of_strings_matters():
    assert digest_of_strings(["a", "b"]) != digest_of_strings(["b", "a"])


def test_order_of_keys_does_not_matter():
    assert digest_of_value({"a": 1, "b": [2, 3]}) == digest_of_value({"b": [2, 3], "a": 1})
    assert digest_of_value({"a": 1}) != digest_of_value({"a": 2})


def test_code_has_one_digest():
    assert digest_of_code() == digest_of_code()
