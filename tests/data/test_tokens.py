import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import model_config, tokens_of
from vl_pipeline.data.tokens import fill_tokens, read_tokens, tokenize
from vl_pipeline.models.towers import build_tokenizer

TEXTS = ["a dog", "!", "wow! a cat!", "", "a photo of a very very small giraffe, running"]


@pytest.fixture(scope="module")
def clip_tokenizer():
    return build_tokenizer(model_config("resnet-tiny-64"))


def padded_by_words(texts) -> np.ndarray:
    """A tokenizer over digits: 'start 1 2 3 end' padded with zeros to eight."""
    rows = [[98, *(int(digit) for digit in text), 99] for text in texts]
    return np.array([row + [0] * (8 - len(row)) for row in rows], dtype=np.int64)


def test_tokens_are_the_tokenizers_without_its_padding():
    tokens = tokenize(["12", "", "121"], padded_by_words)

    assert tokens.values.tolist() == [98, 1, 2, 99, 98, 99, 98, 1, 2, 1, 99]
    assert tokens.offsets.tolist() == [0, 4, 6, 11]
    assert tokens.lengths.tolist() == [4, 2, 5]
    assert len(tokens) == 3


def test_padded_gathers_rows_in_the_order_asked_for_up_to_the_longest_of_them():
    tokens = tokenize(["12", "", "121"], padded_by_words)

    assert tokens.padded(np.array([1, 0, 1])).tolist() == [
        [98, 99, 0, 0],
        [98, 1, 2, 99],
        [98, 99, 0, 0],
    ]


def test_padded_rows_are_clips_own_rows_trimmed(clip_tokenizer):
    tokens = tokenize(TEXTS, clip_tokenizer)

    padded = tokens.padded(np.arange(len(TEXTS)))

    expected = clip_tokenizer(TEXTS)
    assert (expected[:, : padded.shape[1]] == padded).all()
    assert not expected[:, padded.shape[1] :].any()
    assert padded[:, -1].any()


def test_id_zero_inside_a_text_survives(clip_tokenizer):
    tokens = tokenize(["!^"], clip_tokenizer)  # "!" within a word is id 0 of CLIP's vocabulary

    assert tokens.padded(np.array([0])).tolist() == [[49406, 0, 317, 49407]]


def test_a_column_gives_the_tokens_of_its_texts():
    texts = [str(n % 7) for n in range(2500)]
    column = pa.chunked_array([texts[:3], texts[3:]])

    tokens, of_list = tokenize(column, padded_by_words), tokenize(texts, padded_by_words)

    assert np.array_equal(of_list.values, tokens.values)
    assert np.array_equal(of_list.offsets, tokens.offsets)


def test_texts_are_tokenised_alike_alone_and_in_company(clip_tokenizer):
    many = [TEXTS[n % len(TEXTS)] for n in range(1030)]  # more than are tokenised at once

    together = tokenize(many, clip_tokenizer)

    alone = tokenize(TEXTS, clip_tokenizer)
    assert (alone.padded(np.arange(5)) == together.padded(np.arange(1025, 1030))).all()
    assert len(together) == 1030


def test_ids_are_kept_narrow_where_they_fit():
    def tokenizer(texts):
        return np.array([[int(text)] for text in texts])

    assert np.uint16 == tokenize(["65535"], tokenizer).values.dtype
    assert np.uint32 == tokenize(["65536"], tokenizer).values.dtype
    assert tokenize(["65536"], tokenizer).values.tolist() == [65536]


def test_no_texts_give_no_tokens():
    tokens = tokenize([], padded_by_words)

    assert len(tokens) == 0
    assert tokens.padded(np.zeros(0, dtype=np.int64)).shape[0] == 0


@given(st.lists(st.lists(st.integers(1, 65535), min_size=1, max_size=6), min_size=1, max_size=8))
def test_ids_survive_writing_and_reading(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("tokens")

    fill_tokens(folder, tokens_of(*texts))
    read = read_tokens(folder)

    for number, text in enumerate(texts):
        assert text == read.padded(np.array([number]))[0].tolist()


EQUAL = st.lists(st.lists(st.integers(0, 2), max_size=3).map(lambda ids: [9, *ids, 9]), max_size=30)


@pytest.mark.parametrize("hash_base", [None, 0, 1], ids=["as it is", "all collide", "sums"])
@given(EQUAL)
def test_equal_texts_are_found_and_no_others_however_hashes_collide(hash_base, texts):
    tokens = tokens_of(*texts)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(texts)), 2))

    with pytest.MonkeyPatch.context() as patch:
        if hash_base is not None:
            patch.setattr("vl_pipeline.data.tokens._HASH_BASE", hash_base)
        patch.setattr("vl_pipeline.data.tokens._COMPARED_AT_ONCE", 4)
        first = tokens.first_of_equal(rows)

    found = [texts[rows[place]] for place in first]
    assert [texts[row] for row in rows] == found
    if hash_base is None:
        written = [str(texts[row]) for row in rows]
        assert [written.index(text) for text in written] == first.tolist()


def test_text_that_goes_on_with_id_zero_is_another():
    tokens = tokens_of([98, 5], [98, 5, 0, 99], [98, 5])

    assert tokens.first_of_equal(np.arange(3)).tolist() == [0, 1, 0]


def test_lengths_of_some_texts_are_theirs():
    tokens = tokens_of([1, 2], [3], [4, 5, 6])

    assert tokens.lengths_of(np.array([2, 0])).tolist() == [3, 2]
