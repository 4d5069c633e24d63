import itertools
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import pool_table
from vl_pipeline.data.columns_beside import with_columns_of
from vl_pipeline.data.counts import Counting, count_raw_pairs, num_partners, with_counts
from vl_pipeline.errors import ParameterError, PoolError


def counting(**settings) -> Counting:
    defaults = {"image": "image_hash", "words": "letters_and_digits", "fold_case": True}
    return Counting(**defaults | {"max_in_memory": 1000} | settings)


def counted(
    captions: list[str], scratch: Path, *, batch: int = 2, columns: dict | None = None, **settings
) -> dict[str, list]:
    pool = pool_table(len(captions), caption=captions, **(columns or {}))
    return count_raw_pairs(
        pool.to_batches(batch), counting(**settings), scratch=scratch
    ).to_pydict()


def by_hand(captions: list[str]) -> tuple[list[int | None], list[int | None]]:
    """Count of each caption's rarest unigram or bigram and its rank, word by word."""
    grams = []
    for caption in captions:
        words = re.findall(r"[^\W_]+", caption.lower())
        grams.append([*words, *itertools.pairwise(words)])
    counts = Counter(gram for of_caption in grams for gram in of_caption)
    rarest = [min((counts[g] for g in of), default=None) for of in grams]
    ranks = [c and 1 + sum(n > c for n in counts.values()) for c in rarest]
    return rarest, ranks


def test_the_rarest_unigram_or_bigram_of_a_caption_is_found(tmp_path: Path) -> None:
    #  a: 3, dog: 3, "a dog": 2, runs: 1, "dog runs": 1, cat: 1, "a cat": 1, "dog a": 1
    found = counted(["a dog", "A dog, runs!", "a cat... dog", "!?"], tmp_path)

    assert found["num_unigrams"] == [2, 3, 3, 0]
    assert found["rarest_ngram_count"] == [2, 1, 1, None]
    assert found["rarest_ngram_rank"] == [3, 4, 4, None]  # "a" and "dog" occur more often


@given(
    captions=st.lists(st.text(alphabet="ab C.", max_size=9), max_size=12),
    batch=st.integers(1, 5),
    max_in_memory=st.integers(1, 7),
)
def test_counts_are_exact_whatever_is_spilled(
    captions: list[str], batch: int, max_in_memory: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("spill")

    found = counted(captions, scratch, batch=batch, max_in_memory=max_in_memory)

    assert (found["rarest_ngram_count"], found["rarest_ngram_rank"]) == by_hand(captions)
    assert not list(scratch.iterdir())


def test_words_are_told_apart_as_the_parameters_say(tmp_path: Path) -> None:
    captions = ["Dog-house", "dog house", "हिन्दी"]

    assert counted(captions, tmp_path)["num_unigrams"] == [2, 2, 1]
    assert counted(captions, tmp_path)["rarest_ngram_count"] == [2, 2, 1]
    assert counted(captions, tmp_path, words="white_space")["num_unigrams"] == [1, 2, 1]
    assert counted(captions, tmp_path, fold_case=False)["rarest_ngram_count"] == [1, 1, 1]


def test_captions_of_an_image_and_images_of_a_caption_are_counted_once_each(tmp_path: Path) -> None:
    #         image x twice with "a": once; x with "b"; y with "a"
    columns = {"image_hash": ["x", "x", "x", "y"]}

    found = counted(["a", "a", "b", "a"], tmp_path, columns=columns)

    assert found["captions_of_image"] == [2, 2, 2, 1]
    assert found["images_of_caption"] == [2, 2, 1, 2]


def test_an_image_is_what_the_parameter_names_and_without_it_one_of_its_own(tmp_path: Path) -> None:
    columns = {"url": ["u", "u", None, None]}

    found = counted(["a", "b", "c", "d"], tmp_path, columns=columns, image="url")

    assert found["captions_of_image"] == [2, 2, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_partners_are_counted_as_a_set_has_them(rows: list[tuple[int, int]]) -> None:
    ids, partners = np.array(rows, dtype=np.uint64).reshape(-1, 2).T

    numbers = num_partners(ids, partners)

    assert numbers.tolist() == [len({p for i, p in rows if i == row[0]}) for row in rows]


def test_memory_is_bounded_by_the_parameter_and_not_by_the_number_of_words(tmp_path: Path) -> None:
    table = pool_table(400).select(["uid", "caption", "image_hash"])

    def batches():
        for start in range(0, 400, 20):
            words = [
                " ".join(f"w{row}x{n}" for n in range(300)) for row in range(start, start + 20)
            ]
            part = table.slice(start, 20).set_column(1, "caption", pa.array(words))
            yield from part.to_batches()

    def peak(max_in_memory: int) -> int:
        tracemalloc.start()
        settings = counting(max_in_memory=max_in_memory)
        count_raw_pairs(batches(), settings, scratch=tmp_path)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(5_000)  # the interpreter's table of names may grow in it, by more than is measured here
    spilled, in_memory = peak(5_000), peak(10_000_000)

    # 240,000 records of 16 bytes are 3.8 MB; a batch of 6,000 words costs about 1 MB as it is
    assert spilled < 2_500_000 < 6_000_000 < in_memory


def test_counts_stand_beside_the_pairs_that_are_left_of_the_raw_ones(tmp_path: Path) -> None:
    raw = pool_table(4, caption=["a b", "a b", "c", "a b"])
    counts = count_raw_pairs(raw.to_batches(), counting(), scratch=tmp_path)

    pool = with_counts(raw.take([3, 2]), counts)

    assert pool["images_of_caption"].to_pylist() == [3, 1]  # the raw pool's, not the pool's
    assert pool["uid"].to_pylist() == raw["uid"].take([3, 2]).to_pylist()
    with pytest.raises(PoolError, match=r"4 pairs of the pool are not among the 2 raw"):
        with_counts(raw, counts.slice(0, 2).set_column(0, "uid", pa.array(["x", "y"])))


def test_columns_of_a_table_are_matched_by_its_key_and_missing_ones_are_null(
    tmp_path: Path,
) -> None:
    pool = pool_table(3, url=["u", None, "v"])
    file = tmp_path / "unsafe.parquet"
    pq.write_table(pa.table({"url": ["v", "v", "x"], "punsafe": [0.9, 0.1, 0.2]}), file)

    found = with_columns_of(pool, file)

    assert found["punsafe"].to_pylist() == [None, None, 0.9]


@pytest.mark.parametrize("key", ["uid", "image_hash"])
def test_digests_in_upper_case_are_matched_and_how_many_is_logged(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = pool_table(3)
    digest = pool[key][1].as_py().upper()
    pq.write_table(pa.table({key: [digest], "punsafe": [0.9]}), tmp_path / "unsafe.parquet")

    with caplog.at_level("INFO"):
        found = with_columns_of(pool, tmp_path / "unsafe.parquet")

    assert found["punsafe"].to_pylist() == [None, 0.9, None]
    assert f"knows 1 of 3 pairs, by {key}" in caplog.text


def test_a_table_that_knows_no_pair_of_the_pool_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "unsafe.parquet"
    pq.write_table(pa.table({"url": ["http://u", None], "punsafe": [0.9, 0.1]}), file)
    pool = pool_table(2, url=["https://u", None])

    with pytest.raises(ParameterError, match=r"unsafe.parquet, which knows none of the pool's 2"):
        with_columns_of(pool, file)
    assert with_columns_of(pool.slice(0, 0), file)["punsafe"].to_pylist() == []


@pytest.mark.parametrize(
    "columns", [{"key": ["a"], "punsafe": [0.5]}, {"uid": ["a"], "width": [5]}, {"uid": ["a"]}]
)
def test_a_table_that_cannot_be_matched_or_brings_nothing_is_refused(
    tmp_path: Path, columns: dict
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")

    with pytest.raises(ParameterError, match=r"it needs one of uid, image_hash, url"):
        with_columns_of(pool_table(1), tmp_path / "t.parquet")


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"count.columns is .*gone.parquet"):
        with_columns_of(pool_table(1), tmp_path / "gone.parquet")


def test_a_table_whose_key_is_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uid": [["a"]], "punsafe": [0.5]}), tmp_path / "t.parquet")

    with pytest.raises(ParameterError, match=r"count.columns is .*t.parquet.*Unsupported cast"):
        with_columns_of(pool_table(1), tmp_path / "t.parquet")
