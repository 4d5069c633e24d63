"""Nested values as flat names."""

from vl_pipeline.hooks.flatten import flatten


def test_nested_keys_are_joined_and_lists_are_leaves() -> None:
    assert flatten({"a": {"b": 1, "c": [2, 3]}, "d": None}) == {"a.b": 1, "a.c": [2, 3], "d": None}


def test_an_empty_dictionary_is_not_lost() -> None:
    assert flatten({"clip": {"curation": {}}}) == {"clip.curation": {}}


def test_the_separator_can_be_chosen() -> None:
    assert flatten({"scenes": {"top1": 0.5}}, separator="_") == {"scenes_top1": 0.5}
