"""How often images, captions and words occur in a raw pool, as columns of its pairs.

One pass over the raw pairs counts, and what was counted is looked up for each pair afterwards. Per
pair a few numbers stay in memory. Of words and pairs of neighbouring words (unigrams and bigrams)
there are tens per pair: they are spilled to files by their hash, so that all of one n-gram are in
one file, and counted a file at a time. Counts are exact but for collisions of 64-bit hashes: of a
billion different n-grams one is expected with a chance of 3 %.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge
from jaxtyping import Int64, UInt64
from pandas.core.util.hashing import hash_array
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.paths import OptionalInput
from vl_pipeline.data.spill import Spill
from vl_pipeline.errors import PoolError

COUNT_COLUMNS = (
    "captions_of_image",  # different captions of the pair's image
    "images_of_caption",  # different images of the pair's caption
    "num_unigrams",  # words of the caption
    "rarest_ngram_count",  # occurrences of the caption's rarest unigram or bigram; null without one
    "rarest_ngram_rank",  # 1 + number of n-grams that occur more often than that one
)
_LEFT_OF_BIGRAM = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word's hash is lost
_RIGHT_OF_BIGRAM = np.uint64(0xBF58476D1CE4E5B9)
_SEPARATORS = r"[^\p{L}\p{M}\p{N}]+"


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Counting:
    """What counts as the same image and the same word.

    Attributes:
        image: Column by which images are told apart; a pair without one is an image of its own.
        words: What lies between words: everything but letters, marks and digits, or white space.
        fold_case: Whether "Dog" and "dog" are one word. Captions are always told apart as they are.
        max_in_memory: Occurrences of n-grams in memory at once, of 16 bytes; the others are on
            disk.
        columns: A Parquet table of further columns by `uid`, `image_hash` or `url`, such as what a
            detector of unsafe images found; None for none.
    """

    image: Literal["image_hash", "perceptual_hash", "url"]
    words: Literal["letters_and_digits", "white_space"]
    fold_case: bool
    max_in_memory: Annotated[int, Ge(1)]
    columns: OptionalInput = None


def count_raw_pairs(
    batches: Iterable[pa.RecordBatch], counting: Counting, *, scratch: Path
) -> pa.Table:
    """Count over raw pairs, read once.

    Args:
        batches: Raw pairs, with `uid`, `caption` and the image's column; for instance what
            `ParquetFile.iter_batches` gives.
        counting: What counts as the same.
        scratch: Where occurrences are spilled; left as it was.

    Returns:
        `uid` and `COUNT_COLUMNS`, one row per raw pair, in order.
    """
    uids, images, captions, num_unigrams = [], [], [], []
    num_pairs = 0
    with TemporaryDirectory(dir=scratch) as folder:
        spill = Spill(Path(folder), max_in_memory=counting.max_in_memory)
        for batch in batches:
            uids.append(batch["uid"])
            images.append(_image_ids(batch, counting.image))
            captions.append(_hashes(batch["caption"]))
            words, pair_of_word = _words(batch["caption"], counting)
            num_unigrams.append(np.bincount(pair_of_word, minlength=batch.num_rows))
            for keys, pair in ngrams(words, pair_of_word):
                spill.add(keys, pair + num_pairs)
            num_pairs += batch.num_rows
        count, rank = _rarest(spill, num_pairs)
    images, captions = _joined(images, np.uint64), _joined(captions, np.uint64)
    return pa.table(
        {
            "uid": pa.chunked_array(uids, pa.string()),
            "captions_of_image": num_partners(images, captions),
            "images_of_caption": num_partners(captions, images),
            "num_unigrams": _joined(num_unigrams, np.int64),
            "rarest_ngram_count": pa.array(count, mask=count == 0),
            "rarest_ngram_rank": pa.array(rank, mask=count == 0),
        }
    )


def with_counts(pool: pa.Table, counted: pa.Table) -> pa.Table:
    """Append `COUNT_COLUMNS` to a pool whose pairs are among those that were counted.

    Raises:
        PoolError: If one is not.
    """
    places = pc.index_in(pool["uid"], value_set=counted["uid"].combine_chunks())
    if places.null_count:
        raise PoolError(
            f"{places.null_count} pairs of the pool are not among the {counted.num_rows} raw pairs "
            f"that were counted; run the pipeline from ingest again"
        )
    for name in COUNT_COLUMNS:
        pool = pool.append_column(name, counted[name].take(places))
    return pool


def num_partners(
    ids: UInt64[np.ndarray, " n"], partners: UInt64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Count, for each row, the different partners that its id occurs with."""
    order = np.lexsort((partners, ids))
    ids_sorted, partners_sorted = ids[order], partners[order]
    new_id = np.append(True, ids_sorted[1:] != ids_sorted[:-1])[: len(ids)]
    new_partner = new_id | np.append(True, partners_sorted[1:] != partners_sorted[:-1])[: len(ids)]
    group = np.cumsum(new_id) - 1
    numbers = np.empty(len(ids), dtype=np.int64)
    numbers[order] = np.bincount(group, weights=new_partner).astype(np.int64)[group]
    return numbers


def ngrams(
    words: UInt64[np.ndarray, " words"], pair_of_word: Int64[np.ndarray, " words"]
) -> Iterator[tuple[UInt64[np.ndarray, " n"], Int64[np.ndarray, " n"]]]:
    """Give each unigram, then each bigram, with the pair whose caption it occurs in."""
    yield words, pair_of_word
    within = pair_of_word[1:] == pair_of_word[:-1]
    bigrams = words[:-1] * _LEFT_OF_BIGRAM + words[1:] * _RIGHT_OF_BIGRAM
    yield bigrams[within], pair_of_word[:-1][within]


def _rarest(
    spill: Spill, num_pairs: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Find each pair's rarest n-gram: how often it occurs (0 without one), and its rank."""
    most = np.iinfo(np.int64).max
    count = np.full(num_pairs, most)
    distinct: dict[int, int] = {}  # number of n-grams by how often they occur
    for partition in spill.partitions():
        keys, occurrences = partition.count()
        for times, num in zip(*np.unique(occurrences, return_counts=True), strict=True):
            distinct[int(times)] = distinct.get(int(times), 0) + int(num)
        for some_keys, pairs in partition.read():
            np.minimum.at(count, pairs, occurrences[np.searchsorted(keys, some_keys)])
    times = np.array(sorted(distinct), dtype=np.int64)
    numbers = np.array([distinct[int(t)] for t in times], dtype=np.int64)
    more_often = np.append(numbers[::-1].cumsum()[::-1], 0)  # [i]: n-grams of times[i] or more
    rank = 1 + more_often[np.searchsorted(times, count, side="right")]
    return np.where(count == most, 0, count), rank


def _image_ids(batch: pa.RecordBatch, column: str) -> UInt64[np.ndarray, " n"]:
    missing = batch[column].is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, _hashes(batch["uid"]), _hashes(batch[column]))


def _words(
    captions: pa.Array, counting: Counting
) -> tuple[UInt64[np.ndarray, " words"], Int64[np.ndarray, " words"]]:
    """Hash the words of each caption, in order, with the row of the caption each is from."""
    folded = pc.utf8_lower(captions) if counting.fold_case else captions
    if counting.words == "white_space":
        split = pc.utf8_split_whitespace(folded)
    else:
        split = pc.split_pattern_regex(folded, _SEPARATORS)
    words, rows = split.flatten(), pc.list_parent_indices(split).to_numpy().astype(np.int64)
    is_word = pc.not_equal(words, "").to_numpy(zero_copy_only=False)  # a separator ends the caption
    return _hashes(words)[is_word], rows[is_word]


def _hashes(values: pa.Array) -> UInt64[np.ndarray, " n"]:
    """Hash strings or bytes, each different one once; a null's hash means nothing."""
    encoded = values.dictionary_encode()
    different = np.array(encoded.dictionary.to_pylist(), dtype=object)
    hashes = hash_array(np.append(different, ""), categorize=False)
    return hashes[pc.fill_null(encoded.indices, len(different)).to_numpy()]


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=dtype), *parts]).astype(dtype)
