import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import (
    LIMITS,
    distinct_picture,
    pair_members,
    picture,
    write_side_table,
    write_tar,
)
from vl_pipeline.data.digest import digest_of_bytes
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import PoolShards, ShardIndex, index_pool, index_shard

IMAGE = picture(width=24, height=16)


def index_of(tmp_path, *parts, name: str = "0.tar") -> ShardIndex:
    return index_shard(write_tar(tmp_path / name, *parts), name, LIMITS)


def pool_of(folder, *, shards: str = "*.tar", num_workers: int = 1) -> PoolShards:
    return PoolShards(folder=str(folder), shards=shards, limits=LIMITS, num_workers=num_workers)


def test_whole_pair_is_indexed_with_what_it_is_and_where_it_lies(tmp_path):
    members = pair_members(
        "00000", caption="a red square\n", image=IMAGE, side={"url": "http://a.example/1.jpg"}
    )

    index = index_of(tmp_path, members)

    (pair,) = index.pairs.to_pylist()
    offset = pair.pop("image_offset")
    assert len(pair.pop("perceptual_hash")) == 32
    assert len(pair.pop("colour_grid")) == 48
    assert {
        "uid": digest_of_bytes(IMAGE, b"a red square"),
        "shard": "0.tar",
        "key": "00000",
        "image_bytes": len(IMAGE),
        "image_hash": digest_of_bytes(IMAGE),
        "width": 24,
        "height": 16,
        "caption": "a red square",
        "url": "http://a.example/1.jpg",
    } == pair
    assert (tmp_path / "0.tar").read_bytes()[offset : offset + len(IMAGE)] == IMAGE
    assert index.ledger.num_rows == 0


def test_caption_comes_from_the_json_where_there_is_no_txt(tmp_path):
    index = index_of(
        tmp_path, pair_members("0", caption=None, image=IMAGE, side={"caption": "from json"})
    )

    assert index.pairs["caption"].to_pylist() == ["from json"]


def test_txt_goes_before_the_json(tmp_path):
    index = index_of(
        tmp_path, pair_members("0", caption="from txt", image=IMAGE, side={"caption": "from json"})
    )

    assert index.pairs["caption"].to_pylist() == ["from txt"]


@pytest.mark.parametrize("side", [{"url": None}, {"url": 3}, [1, 2], b"NaN"])
def test_json_that_says_no_url_costs_nothing(tmp_path, side):
    side = side if isinstance(side, bytes) else json.dumps(side).encode()

    index = index_of(tmp_path, pair_members("0", image=IMAGE, side=side))

    assert index.pairs["url"].to_pylist() == [None]


BROKEN_PAIRS = {
    "missing_image": pair_members("0"),
    "missing_caption": pair_members("0", caption=None, image=IMAGE),
    "missing_caption in json": pair_members("0", caption=None, image=IMAGE, side={"caption": None}),
    "empty_caption": pair_members("0", caption="", image=IMAGE),
    "empty_caption of blanks": pair_members("0", caption=" \n\t", image=IMAGE),
    "undecodable_caption": pair_members("0", caption="é".encode("latin-1"), image=IMAGE),
    "undecodable_caption in json": pair_members(
        "0", caption=None, image=IMAGE, side=b'{"caption": "\\ud800"}'
    ),
    "unreadable_image": pair_members("0", image=b"<html>not found</html>"),
    "unreadable_image of no bytes": pair_members("0", image=b""),
    "unreadable_image cut": pair_members("0", image=IMAGE[: len(IMAGE) // 2]),
    "image_too_many_pixels": pair_members("0", image=picture(width=2000, height=501)),
    "unreadable_json": pair_members("0", caption=None, image=IMAGE, side=b"{not json"),
    "unreadable_json nested": pair_members("0", caption=None, image=IMAGE, side=b"[" * 100_000),
}


@pytest.mark.parametrize("case", BROKEN_PAIRS)
def test_broken_pair_goes_to_the_ledger_under_its_rule(tmp_path, case):
    whole = pair_members("1", image=IMAGE)

    index = index_of(tmp_path, BROKEN_PAIRS[case], whole)

    rule = case.split()[0]
    (row,) = index.ledger.to_pylist()
    assert ("ingest", "0.tar", "0", rule) == (row["stage"], row["shard"], row["key"], row["rule"])
    assert index.pairs["key"].to_pylist() == ["1"]
    assert index.num_listed == 2


def test_broken_json_beside_a_caption_costs_no_pair_and_is_counted(tmp_path):
    parts = [
        pair_members("0", image=IMAGE, side=b"{not json"),
        pair_members("1", image=IMAGE, side={"url": "http://a.example"}),
        pair_members("2", image=IMAGE, side=b"9" * (LIMITS.max_json_bytes + 1)),
        pair_members("3", caption=None, image=IMAGE, side=b"{not json"),
    ]
    path = write_tar(tmp_path / "0.tar", *parts)

    index = index_pool(pool_of(tmp_path), scratch=tmp_path / "scratch")
    again = index_pool(pool_of(tmp_path), scratch=tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["0", "1", "2"]
    assert index.pairs["url"].to_pylist() == [None, "http://a.example", None]
    assert count_by_rule(index.ledger) == {"unreadable_json": 1}
    assert (index.num_broken_json, again.num_broken_json) == (2, 2)
    assert index_shard(path, "0.tar", LIMITS).num_broken_json == 2


def test_each_pair_of_a_repeated_key_is_a_row_of_the_ledger_and_the_first_stays(tmp_path):
    first = pair_members("0", caption="first", image=IMAGE)
    other = pair_members("1", image=IMAGE)
    again = pair_members("0", caption="again", image=IMAGE)

    index = index_of(tmp_path, first, other, again, again, other)

    assert index.pairs["caption"].to_pylist() == ["first", "a red square"]
    assert [(r["key"], r["rule"]) for r in index.ledger.to_pylist()] == [
        ("0", "repeated_key"),
        ("0", "repeated_key"),
        ("1", "repeated_key"),
    ]
    assert index.num_listed == 5


def test_key_may_come_again_in_another_shard_where_it_is_another_pair(tmp_path):
    first = index_of(tmp_path, pair_members("0", caption="a", image=IMAGE), name="a.tar")
    second = index_of(tmp_path, pair_members("0", caption="b", image=IMAGE), name="b.tar")

    pairs = pa.concat_tables([first.pairs, second.pairs])

    assert pairs["key"].to_pylist() == ["0", "0"]
    assert len(set(pairs["uid"].to_pylist())) == 2
    assert first.ledger.num_rows == second.ledger.num_rows == 0


def test_pair_whose_image_is_a_link_is_a_row_of_the_ledger(tmp_path):
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w:") as archive:
        link = tarfile.TarInfo("0.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        text = tarfile.TarInfo("0.txt")
        text.size = 5
        archive.addfile(text, io.BytesIO(b"a cat"))

    index = index_shard(path, "0.tar", LIMITS)

    assert count_by_rule(index.ledger) == {"not_a_file": 1}
    assert index.num_listed == 1


def test_archive_cut_within_a_pair_gives_what_came_before_and_says_both(tmp_path):
    path = write_tar(tmp_path / "0.tar", *(pair_members(key, image=IMAGE) for key in "ab"))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"b.txt") + 100])

    index = index_shard(path, "0.tar", LIMITS)

    assert index.pairs["key"].to_pylist() == ["a"]
    assert count_by_rule(index.ledger) == {"broken_tar": 1, "missing_caption": 1}
    assert index.num_listed == 3


def test_shard_within_a_shard_is_one_pair_without_an_image(tmp_path):
    inner = write_tar(tmp_path / "inner.tar", pair_members("0", image=IMAGE)).read_bytes()

    index = index_of(tmp_path, [("inner.tar", inner)], pair_members("1", image=IMAGE))

    assert index.pairs["key"].to_pylist() == ["1"]
    assert [(r["key"], r["rule"], r["value"]) for r in index.ledger.to_pylist()] == [
        ("inner", "missing_image", "tar")
    ]


def test_rows_of_the_side_table_that_the_archive_lacks_go_to_the_ledger(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("0", image=IMAGE))
    write_side_table(
        path,
        [
            ("0", "success", None),
            ("1", "success", None),
            ("2", "failed_to_download", "HTTP Error 404"),
            ("3", "failed_to_resize", "cannot identify image"),
            ("4", "caught_fire", "?"),
        ],
    )

    index = index_shard(path, "0.tar", LIMITS)

    assert [(row["key"], row["rule"], row["value"]) for row in index.ledger.to_pylist()] == [
        ("1", "lost_from_shard", "success: None"),
        ("2", "failed_to_download", "failed_to_download: HTTP Error 404"),
        ("3", "failed_to_resize", "failed_to_resize: cannot identify image"),
        ("4", "failed_otherwise", "caught_fire: ?"),
    ]
    assert index.pairs.num_rows == 1
    assert index.num_listed == 5


def test_pair_that_is_in_the_archive_is_not_charged_twice(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("0", image=b"no image"))
    write_side_table(path, [("0", "success", None)])

    index = index_shard(path, "0.tar", LIMITS)

    assert count_by_rule(index.ledger) == {"unreadable_image": 1}
    assert index.num_listed == 1


@pytest.mark.parametrize("table", ["damaged", "of other columns"])
def test_side_table_that_cannot_be_read_costs_no_pair(tmp_path, table):
    path = write_tar(tmp_path / "0.tar", pair_members("0", image=IMAGE))
    path.with_suffix(".parquet").write_bytes(b"PAR1 no")
    if table == "of other columns":
        pq.write_table(pa.table({"key": ["0"]}), path.with_suffix(".parquet"))

    index = index_shard(path, "0.tar", LIMITS)

    assert index.pairs["key"].to_pylist() == ["0"]
    assert [(r["key"], r["rule"]) for r in index.ledger.to_pylist()] == [("", "broken_side_table")]
    assert index.num_listed == 2


def test_rows_of_the_side_table_without_a_key_of_text_are_listed(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("0", image=IMAGE))
    rows = {"key": [None, 7], "status": ["success", None], "error_message": [None, None]}
    pq.write_table(pa.table(rows), path.with_suffix(".parquet"))

    index = index_shard(path, "0.tar", LIMITS)

    assert count_by_rule(index.ledger) == {"failed_otherwise": 1, "lost_from_shard": 1}
    assert index.pairs.num_rows == 1
    assert index.num_listed == 3


def test_damage_to_the_archive_is_one_row_without_a_key(tmp_path):
    path = write_tar(tmp_path / "0.tar", *(pair_members(key, image=IMAGE) for key in "ab"))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"b.jpg") + 600])

    index = index_shard(path, "0.tar", LIMITS)

    assert index.pairs["key"].to_pylist() == ["a"]
    assert [(r["key"], r["rule"]) for r in index.ledger.to_pylist()] == [("", "broken_tar")]
    assert index.num_listed == 2


@pytest.mark.parametrize("content", [b"", b"no tar"])
def test_file_that_is_no_archive_is_one_row_of_the_ledger(tmp_path, content):
    path = tmp_path / "0.tar"
    path.write_bytes(content)

    index = index_shard(path, "0.tar", LIMITS)

    assert index.pairs.num_rows == 0
    assert count_by_rule(index.ledger) == {"broken_tar": 1}


def test_url_that_is_no_unicode_does_not_stop_the_shard(tmp_path):
    index = index_of(tmp_path, pair_members("0", image=IMAGE, side=b'{"url": "\\ud800"}'))

    assert index.num_listed == 1


def test_name_that_is_no_unicode_does_not_stop_the_shard(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("aaaa", image=IMAGE))
    with_latin_name = path.read_bytes()
    for name in (b"aaaa.jpg", b"aaaa.txt"):
        start = with_latin_name.index(name)
        header = bytearray(with_latin_name[start : start + 512])
        header[0] = 0xE9
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        with_latin_name = with_latin_name[:start] + bytes(header) + with_latin_name[start + 512 :]
    path.write_bytes(with_latin_name)

    index = index_shard(path, "0.tar", LIMITS)

    assert index.num_listed == 1


PARTS = [*BROKEN_PAIRS.values(), pair_members("0", image=IMAGE)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(range(len(PARTS)))), max_size=6))
def test_accounts_of_any_shard_add_up(tmp_path_factory, drawn):
    parts = [
        [(name.replace("0", key, 1), content) for name, content in PARTS[number]]
        for key, number in drawn
    ]

    index = index_of(tmp_path_factory.mktemp("shard"), *parts)

    assert index.num_listed == index.pairs.num_rows + index.ledger.num_rows


def test_webdataset_reads_the_same_keys_and_bytes(tmp_path):
    parts = [
        pair_members(f"{n:05d}", caption=f"caption {n}", image=distinct_picture(n), side={"n": n})
        for n in range(3)
    ]
    path = write_tar(tmp_path / "0.tar", *parts)

    pairs = index_shard(path, "0.tar", LIMITS).pairs

    images = PoolImages(pairs, tmp_path)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [(sample["__key__"], sample["jpg"], sample["txt"].decode()) for sample in samples] == [
        (pair["key"], images.read(row), pair["caption"])
        for row, pair in enumerate(pairs.to_pylist())
    ]


def test_pool_is_its_shards_in_the_order_of_their_names(tmp_path):
    write_tar(tmp_path / "b.tar", pair_members("0", image=distinct_picture(0)))
    write_tar(tmp_path / "sub" / "c.tar", pair_members("1", image=distinct_picture(1)))
    write_tar(tmp_path / "a.tar", pair_members("2", image=b"no image"), pair_members("3"))
    pool = pool_of(tmp_path, shards="{*.tar,sub/*.tar}")

    index = index_pool(pool, scratch=tmp_path / "scratch")

    assert index.pairs["shard"].to_pylist() == ["b.tar", "sub/c.tar"]
    assert count_by_rule(index.ledger) == {"missing_image": 1, "unreadable_image": 1}
    assert index.num_listed == 4


def test_eight_workers_on_one_shard_give_what_one_gives(tmp_path):
    path = write_tar(tmp_path / "0.tar", *(pair_members(key, image=IMAGE) for key in "abca"))

    index = index_pool(pool_of(tmp_path, num_workers=8), scratch=tmp_path / "scratch")

    alone = index_shard(path, "0.tar", LIMITS)
    assert alone.pairs.equals(index.pairs)
    assert alone.ledger.equals(index.ledger)
    assert alone.num_listed == index.num_listed == 4


def test_shard_without_pairs_is_an_empty_index(tmp_path):
    index = index_of(tmp_path)

    assert index.pairs.schema == PAIR_SCHEMA
    assert (index.pairs.num_rows, index.ledger.num_rows, index.num_listed) == (0, 0, 0)


WHOLE = [pair_members(key, image=IMAGE, side={"url": f"http://{key}.example"}) for key in "abc"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9000), st.binary(min_size=1, max_size=30)), max_size=4),
    st.integers(0, 9000),
)
def test_damage_costs_no_pair_that_lies_before_it(tmp_path_factory, changes, num_bytes_left):
    path = write_tar(tmp_path_factory.mktemp("shard") / "0.tar", *WHOLE)
    whole = path.read_bytes()
    before = index_shard(path, "0.tar", LIMITS).pairs.to_pylist()
    damaged = bytearray(whole)
    for place, data in changes:
        damaged[place : place + len(data)] = data
    path.write_bytes(damaged[:num_bytes_left])
    first_change = min([num_bytes_left, *(place for place, _ in changes)])

    index = index_shard(path, "0.tar", LIMITS)

    ends = [whole.index(b"%c.jpg" % ord(key)) for key in "bc"] + [whole.rindex(b"http://c") + 512]
    expected = [p for p, end in zip(before, ends, strict=True) if end <= first_change]
    assert expected == index.pairs.to_pylist()[: len(expected)]
    assert index.num_listed == index.pairs.num_rows + index.ledger.num_rows
