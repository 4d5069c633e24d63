"""Pools of every shape: what is indexed is what is read back, from the user's files."""

import csv
import gzip
import io
import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes import (
    LIMITS,
    distinct_picture,
    pair_members,
    picture,
    write_side_table,
    write_tar,
)
from tests.sources import images_of, read_pool, write_files
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.sources import plain
from vl_pipeline.data.sources.folder import LocalFolder
from vl_pipeline.errors import ShardError

PICTURES = [distinct_picture(n) for n in range(3)]
CAPTIONS = ["a red square", "a blue one", "ein grünes"]
PARTS = [
    pair_members(f"{n:03d}", caption=caption, image=image)
    for n, (caption, image) in enumerate(zip(CAPTIONS, PICTURES, strict=True))
]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def tar_of(tmp_path) -> bytes:
    return write_tar(tmp_path / "made.tar", *PARTS).read_bytes()


def table_of_structs() -> pa.Table:
    cells = [{"bytes": image, "path": None} for image in PICTURES]
    return pa.table({"image": pa.array(cells, STRUCT), "text": CAPTIONS})


def parquet_of(table: pa.Table, **settings) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **settings)
    return file.getvalue()


def arrow_stream_of(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


def arrow_file_of(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


def csv_of(rows: list[list[str]], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    return file.getvalue().encode()


def lines_of(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


NAMED = {f"images/{n}.jpg": image for n, image in enumerate(PICTURES)}
ROWS = [["file_name", "caption"], *([name, c] for name, c in zip(NAMED, CAPTIONS, strict=True))]
STRUCTS = table_of_structs()
LISTS = pa.table({"images": pa.array([[i] for i in PICTURES]), "text": CAPTIONS})
BINARY = pa.table({"jpg": PICTURES, "caption": CAPTIONS, "url": ["http://a.example/1"] * 3})

SHAPES = {
    "txt beside": {
        **{f"{n}.jpg": image for n, image in enumerate(PICTURES)},
        **{f"{n}.txt": caption.encode() for n, caption in enumerate(CAPTIONS)},
    },
    "json beside": {
        **{f"a.b/{n}.v2.JPG": image for n, image in enumerate(PICTURES)},
        **{f"a.b/{n}.v2.json": lines_of({"text": c}) for n, c in enumerate(CAPTIONS)},
    },
    "csv": {**NAMED, "captions.csv": csv_of(ROWS)},
    "csv with bars": {**NAMED, "captions.csv": csv_of(ROWS, "|")},
    "csv of base names": {
        **NAMED,
        "captions.csv": csv_of([[name.split("/")[-1], c] for name, c in ROWS]),
    },
    "tsv": {**NAMED, "captions.tsv": csv_of(ROWS, "\t")},
    "jsonl": {
        **{f"train/{name}": image for name, image in NAMED.items()},
        "train/metadata.jsonl": lines_of(*({"file_name": n, "text": c} for n, c in ROWS[1:])),
    },
    "jsonl of Data-Juicer": {
        **NAMED,
        "demo/data.jsonl": lines_of(
            *(
                {"images": [f"../{name}"], "text": f"<__dj__image> {caption} <|__dj__eoc|>"}
                for name, caption in ROWS[1:]
            )
        ),
    },
    "parquet of names": {
        **NAMED,
        "all.parquet": parquet_of(pa.table({"file_name": list(NAMED), "caption": CAPTIONS})),
    },
    "parquet of structs": {"train.parquet": parquet_of(STRUCTS, row_group_size=2)},
    "parquet of lists": {"train.parquet": parquet_of(LISTS)},
    "parquet of binary": {"a/b.parquet": parquet_of(BINARY)},
    "arrow stream": {"data.arrow": arrow_stream_of(STRUCTS), "dataset_info.json": b"{}"},
    "arrow file": {"data.arrow": arrow_file_of(STRUCTS), "state.json": b"{}"},
}  # fmt: skip
READ_IN_PLACE = ("beside", "csv", "tsv", "jsonl", "names")


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_of_each_shape_are_indexed_and_read_back(tmp_path, shape):
    folder = write_files(tmp_path / "pool", SHAPES[shape])

    index = read_pool(folder, tmp_path / "scratch")

    assert index.ledger.to_pylist() == []
    assert index.pairs["caption"].to_pylist() == CAPTIONS
    assert images_of(index, folder, tmp_path / "scratch") == PICTURES
    assert set(index.pairs["shard"].to_pylist()) <= set(SHAPES[shape])
    in_place = any(word in shape for word in READ_IN_PLACE)
    assert (tmp_path / "scratch/plain").exists() != in_place


@pytest.mark.parametrize("name", ["0.tar.gz", "0.tgz", "0.tar"])
def test_gzip_tar_under_any_name_is_indexed_and_read_back(tmp_path, name):
    folder = write_files(tmp_path / "pool", {name: gzip.compress(tar_of(tmp_path))})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["caption"].to_pylist() == CAPTIONS
    assert set(index.pairs["shard"].to_pylist()) == {name}
    assert images_of(index, folder, tmp_path / "scratch") == PICTURES


def test_side_table_of_a_gzip_tar_is_read(tmp_path):
    folder = write_files(tmp_path / "pool", {"0.tar.gz": gzip.compress(tar_of(tmp_path))})
    write_side_table(folder / "0.tar", [("000", "success", None), ("9", "failed_to_download", "?")])

    index = read_pool(folder, tmp_path / "scratch")

    assert count_by_rule(index.ledger) == {"failed_to_download": 1}


def test_gzip_tar_that_expands_beyond_the_limit_is_one_row_and_costs_no_more_disk(tmp_path):
    bomb = [("999.bin", bytes(10 * LIMITS.max_plain_bytes))]
    data = gzip.compress(write_tar(tmp_path / "made.tar", *PARTS, bomb).read_bytes())
    folder = write_files(tmp_path / "pool", {"0.tgz": data})

    index = read_pool(folder, tmp_path / "scratch")

    assert len(data) < LIMITS.max_plain_bytes / 50
    assert index.pairs["caption"].to_pylist() == CAPTIONS
    assert images_of(index, folder, tmp_path / "scratch") == PICTURES
    (row,) = index.ledger.to_pylist()
    assert row["rule"] == "broken_tar"
    assert "pool.limits.max_plain_bytes" in row["value"]
    sizes = [path.stat().st_size for path in (tmp_path / "scratch/plain").rglob("*.tar")]
    assert sizes == [LIMITS.max_plain_bytes]


def test_table_whose_pictures_expand_beyond_the_limit_is_one_row_and_the_rows_before_are_used(
    tmp_path, monkeypatch
):
    table = pa.table({"image": [PICTURES[0]] * 9000, "text": ["a caption"] * 9000})
    (tmp_path / "pool").mkdir()
    pq.write_table(table, tmp_path / "pool/0.parquet")

    limited = replace(LIMITS, max_plain_bytes=40_000)
    monkeypatch.setattr("tests.sources.LIMITS", limited)
    index = read_pool(tmp_path / "pool", tmp_path / "scratch")

    assert 0 < index.pairs.num_rows < 40
    assert count_by_rule(index.ledger) == {"broken_table": 1}
    (plain,) = (tmp_path / "scratch/plain").rglob("*.tar")
    assert plain.stat().st_size <= 40_000 + 2 * 512


def test_gzip_tar_that_is_cut_is_one_row_and_the_pairs_before_are_used(tmp_path):
    noise = [pair_members(f"{n}", image=picture(color=(n, n, n), kind="BMP")) for n in range(200)]
    data = gzip.compress(write_tar(tmp_path / "made.tar", *PARTS, *noise).read_bytes(), 0)
    folder = write_files(tmp_path / "pool", {"0.tar.gz": data[: len(data) // 3]})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["caption"].to_pylist()[:3] == CAPTIONS
    assert count_by_rule(index.ledger)["broken_tar"] == 1
    whole = index.pairs.num_rows
    _remove(tmp_path / "scratch/plain")
    assert len(images_of(index, folder, tmp_path / "scratch")) == whole


@pytest.mark.parametrize("shape", [s for s in SHAPES if not any(w in s for w in READ_IN_PLACE)])
def test_plain_form_that_was_deleted_is_made_again_with_the_same_bytes(tmp_path, shape):
    folder = write_files(tmp_path / "pool", SHAPES[shape])
    index = read_pool(folder, tmp_path / "scratch")
    (made,) = (tmp_path / "scratch/plain").rglob("*.tar")
    before = made.read_bytes()

    for delete in (made.unlink, lambda: _remove(tmp_path / "scratch/plain")):
        delete()
        assert images_of(index, folder, tmp_path / "scratch") == PICTURES
        assert made.read_bytes() == before


def test_plain_form_of_an_unchanged_file_is_not_made_twice(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "pool", SHAPES["parquet of structs"])
    index = read_pool(folder, tmp_path / "scratch")

    monkeypatch.setattr(plain, "digest_of_stream", lambda parts: 1 / 0)

    assert images_of(index, folder, tmp_path / "scratch") == PICTURES


def test_plain_form_is_called_alike_on_every_machine(tmp_path):
    for place in ("one", "two"):
        folder = write_files(tmp_path / place / "pool", SHAPES["parquet of structs"])
        read_pool(folder, tmp_path / place / "scratch")

    one, two = (
        sorted(f.name for f in (tmp_path / place / "scratch").rglob("*.tar"))
        for place in ("one", "two")
    )
    assert one == two


def test_plain_form_is_a_tar(tmp_path):
    import tarfile

    folder = write_files(tmp_path / "pool", SHAPES["parquet of structs"])
    read_pool(folder, tmp_path / "scratch")
    (made,) = (tmp_path / "scratch/plain").rglob("*.tar")

    with tarfile.open(made) as archive:
        found = [archive.extractfile(member).read() for member in archive]
    assert found == PICTURES


CHANGED = {
    "txt beside": {"0.jpg": distinct_picture(9)},
    "csv": {"images/0.jpg": distinct_picture(9)},
    "parquet of structs": {
        "train.parquet": parquet_of(
            STRUCTS.set_column(0, "image", STRUCTS["image"].combine_chunks().take([1, 0, 2]))
        )
    },
    "arrow file": {
        "data.arrow": arrow_file_of(
            STRUCTS.set_column(0, "image", STRUCTS["image"].combine_chunks().take([1, 0, 2]))
        )
    },
}


@pytest.mark.parametrize("shape", CHANGED)
def test_file_that_changed_since_it_was_indexed_is_refused(tmp_path, shape):
    folder = write_files(tmp_path / "pool", SHAPES[shape])
    index = read_pool(folder, tmp_path / "scratch")

    write_files(folder, CHANGED[shape])

    with pytest.raises(ShardError, match="changed since ingest"):
        images_of(index, folder, tmp_path / "scratch")


def test_gzip_tar_that_changed_since_it_was_indexed_is_refused(tmp_path):
    folder = write_files(tmp_path / "pool", {"0.tgz": gzip.compress(tar_of(tmp_path))})
    index = read_pool(folder, tmp_path / "scratch")

    other = write_tar(tmp_path / "other.tar", *PARTS[::-1]).read_bytes()
    write_files(folder, {"0.tgz": gzip.compress(other)})

    with pytest.raises(ShardError, match="changed since ingest"):
        images_of(index, folder, tmp_path / "scratch")


@pytest.mark.parametrize("shape", ["txt beside", "parquet of structs"])
def test_file_that_is_gone_is_named(tmp_path, shape):
    folder = write_files(tmp_path / "pool", SHAPES[shape])
    index = read_pool(folder, tmp_path / "scratch")

    _remove(folder)

    with pytest.raises(ShardError, match=r"(0\.jpg|train\.parquet): cannot be opened"):
        images_of(index, folder, tmp_path / "scratch")


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "jpeg"])
def test_pictures_of_each_kind_are_read(tmp_path, kind):
    image = picture(kind=kind.upper())
    folder = write_files(tmp_path / "pool", {f"0.{kind}": image, "0.txt": b"a"})
    write_tar(folder / "1.tar", pair_members("1", image=image, image_suffix=kind))

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["shard"].to_pylist() == ["1.tar", f"0.{kind}"]


MEMBERS = {
    "txt.gz": ([("0.jpg", PICTURES[0]), ("0.txt.gz", gzip.compress(b"a cat"))], "a cat"),
    "text in json": ([("0.jpg", PICTURES[0]), ("0.json", b'{"text": "a cat"}')], "a cat"),
    "image.jpg": ([("0.image.jpg", PICTURES[0]), ("0.caption.txt", b"a cat")], "a cat"),
    "seg.png": ([("0.seg.png", PICTURES[1]), ("0.jpg", PICTURES[0]), ("0.txt", b"a")], "a"),
    "seg.png alone": ([("0.seg.png", PICTURES[0]), ("0.txt", b"a cat")], "missing_image"),
    "txt.gz cut": (
        [("0.jpg", PICTURES[0]), ("0.txt.gz", gzip.compress(b"a cat")[:-9])],
        "undecodable_caption",
    ),
    "txt.gz bomb": (
        [("0.jpg", PICTURES[0]), ("0.txt.gz", gzip.compress(b"a" * 2**24))],
        "caption_too_many_bytes",
    ),
    "txt.gz of noise": ([("0.jpg", PICTURES[0]), ("0.txt.gz", b"a cat")], "undecodable_caption"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_of_a_pair_are_told_apart_by_their_suffixes(tmp_path, case):
    members, expected = MEMBERS[case]
    write_tar(tmp_path / "pool/0.tar", members)

    index = read_pool(tmp_path / "pool", tmp_path / "scratch")

    assert [*index.pairs["caption"].to_pylist(), *index.ledger["rule"].to_pylist()] == [expected]
    assert set(index.pairs["image_bytes"].to_pylist()) <= {len(PICTURES[0])}


def test_pictures_without_captions_and_captions_without_pictures_are_rows_of_the_ledger(tmp_path):
    files = {"a/0.jpg": PICTURES[0], "a/0.txt": b"zero", "a/1.jpg": PICTURES[1], "2.txt": b"two"}
    folder = write_files(tmp_path / "pool", files)

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["a/0"]
    assert [(r["shard"], r["key"], r["rule"]) for r in index.ledger.to_pylist()] == [
        ("a/1.jpg", "a/1", "missing_caption"),
        ("2.txt", "2", "missing_image"),
    ]


def test_names_that_are_no_utf_8_are_charged(tmp_path):
    folder = write_files(tmp_path / "pool", {"0.jpg": PICTURES[0], "0.txt": b"zero"})
    (folder / os.fsdecode(b"\xe9.jpg")).write_bytes(PICTURES[1])
    table = lines_of({"image": "\ud800.jpg", "caption": "a"})
    write_files(folder, {"t.jsonl": table + b'{"image": "\xe9.jpg", "caption": "a"}'})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["0"]
    assert count_by_rule(index.ledger) == {"missing_image": 2, "undecodable_name": 1}


def test_picture_that_may_not_be_read_is_charged(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "pool", SHAPES["txt beside"])
    read = LocalFolder.read

    def refuse(self, name):
        if name == "1.jpg":
            raise PermissionError(name)
        return read(self, name)

    monkeypatch.setattr(LocalFolder, "read", refuse)
    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["0", "2"]
    assert index.ledger["rule"].to_pylist() == ["unreadable_image"]


def test_captions_alone_are_rows_of_the_ledger(tmp_path):
    folder = write_files(tmp_path / "pool", {"0.txt": b"zero", "1.json": b"{}", "1.txt": b"one"})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.ledger["key"].to_pylist() == ["0", "1"]


def test_what_lies_beside_archives_is_not_taken_for_pairs(tmp_path):
    files = {"0.tar": tar_of(tmp_path), "0_stats.json": b"{}", "readme.txt": b"about"}
    folder = write_files(tmp_path / "pool", files)
    write_side_table(folder / "0.tar", [("000", "success", None)])

    index = read_pool(folder, tmp_path / "scratch")

    assert index.num_listed == 3


def test_rows_of_a_table_that_make_no_pair_are_charged(tmp_path):
    rows = [
        {"image": "images/0.jpg", "caption": ["one", "two"]},
        {"image": "images/gone.jpg", "caption": "a"},
        {"image": "../../etc/passwd", "caption": "a"},
        {"image": ["images/1.jpg", "images/2.jpg"], "caption": "a"},
        {"image": None, "caption": "a"},
        {"image": "images/1.jpg", "caption": None},
        {"image": "images/1.jpg", "caption": "\ud800"},
        {"image": "images/1.jpg"},
    ]
    table = lines_of(*rows) + b"{not json\n\n"
    folder = write_files(tmp_path / "pool", {**NAMED, "t.jsonl": table})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["t.jsonl#0.0", "t.jsonl#0.1"]
    assert index.pairs["caption"].to_pylist() == ["one", "two"]
    assert {(r["key"], r["rule"]) for r in index.ledger.to_pylist()} == {
        ("t.jsonl#1", "missing_image"),
        ("t.jsonl#2", "missing_image"),
        ("t.jsonl#3", "several_images"),
        ("t.jsonl#4", "missing_image"),
        ("t.jsonl#5", "missing_caption"),
        ("t.jsonl#6", "undecodable_caption"),
        ("t.jsonl#7", "missing_caption"),
        ("t.jsonl#8", "unreadable_json"),
        ("images/2", "missing_caption"),
    }


def test_names_that_no_file_can_have_and_addresses_among_names_are_charged(tmp_path):
    said = ["images/0.jpg", "x" * 300 + ".jpg", "http://a.example/1.jpg"]
    rows = lines_of(*({"image": name, "caption": "a"} for name in said))
    folder = write_files(tmp_path / "pool", {"images/0.jpg": PICTURES[0], "t.jsonl": rows})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["t.jsonl#0"]
    assert [(r["key"], r["rule"], r["value"]) for r in index.ledger.to_pylist()] == [
        ("t.jsonl#1", "missing_image", said[1][:200]),
        ("t.jsonl#2", "missing_image", said[2]),
    ]


FAR = pa.array([10**17] * 3, pa.timestamp("ms"))  # three million years from now


def test_columns_of_a_table_of_names_that_are_not_asked_for_may_hold_anything(tmp_path):
    columns = [pa.array(list(NAMED)), pa.array(CAPTIONS), FAR, FAR, pa.array([1, 2, 3])]
    table = pa.Table.from_arrays(columns, names=["file_name", "caption", "when", "z", "z"])
    folder = write_files(tmp_path / "pool", {**NAMED, "all.parquet": parquet_of(table)})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["caption"].to_pylist() == CAPTIONS


def test_rows_of_a_parquet_that_make_no_pair_are_charged(tmp_path):
    binary_text = pa.array([b"a", b"\xff", None, b"a", b"a"]).cast(pa.binary())
    text = pa.StringArray.from_buffers(5, *binary_text.buffers()[1:], binary_text.buffers()[0])
    images = pa.array([[PICTURES[0]], [PICTURES[1]], [PICTURES[2]], [], PICTURES[:2]])
    table = pa.table({"images": images, "caption": text})
    folder = write_files(tmp_path / "pool", {"0.parquet": parquet_of(table)})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == ["000000000"]
    assert [(r["key"][-1], r["rule"]) for r in index.ledger.to_pylist()] == [
        ("1", "undecodable_caption"),
        ("2", "missing_caption"),
        ("3", "missing_image"),
        ("4", "several_images"),
    ]


TWICE = pa.Table.from_arrays(
    [pa.array(PICTURES), pa.array(CAPTIONS), pa.array(CAPTIONS)], names=["jpg", "text", "text"]
)
DAMAGED = {
    "0.parquet": b"PAR1 no",
    "1.parquet": b"",
    "2.parquet": parquet_of(STRUCTS)[:-40],
    "3.csv": b"\x00\x01\x02\xff\n",
    "4.csv": b"",
    "5.jsonl": b"{no\n",
    "6.arrow": arrow_file_of(STRUCTS)[:-40],
    "7.tsv": b"\xff\xfea\x00b\x00",
    "8.parquet": parquet_of(TWICE),
    "9.arrow": arrow_stream_of(TWICE),
    "a.arrow": arrow_file_of(TWICE),
    "b.parquet": parquet_of(TWICE.rename_columns(["jpg", "jpg", "text"])),
    "c.parquet": parquet_of(pa.table({"jpg": PICTURES, "text": FAR})),
    "d.parquet": parquet_of(pa.table({"jpg": PICTURES, "text": CAPTIONS, "url": FAR})),
    "e.parquet": parquet_of(pa.table({"file_name": CAPTIONS, "text": FAR})),
    "f.parquet": parquet_of(TWICE.drop(["jpg"]).append_column("file_name", pa.array(CAPTIONS))),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_table_that_cannot_be_read_is_one_row_without_a_key(tmp_path, name):
    files = {name: DAMAGED[name], "whole.parquet": parquet_of(STRUCTS)}
    folder = write_files(tmp_path / "pool", files)

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs.num_rows == 3
    (row,) = index.ledger.to_pylist()
    assert (row["shard"], row["key"]) == (name, "")
    assert row["rule"] in ("broken_table", "broken_tar")


def test_rows_before_the_damage_to_a_parquet_are_used(tmp_path):
    data = bytearray(
        parquet_of(STRUCTS, row_group_size=1, compression="none", write_statistics=False)
    )
    start = data.rindex(PICTURES[2][:40]) - 12
    data[start : start + 12] = b"\xff" * 12  # levels and length of the third picture
    folder = write_files(tmp_path / "pool", {"0.parquet": bytes(data)})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["caption"].to_pylist() == CAPTIONS[:2]
    assert index.ledger["rule"].to_pylist() == ["broken_table"]
    _remove(tmp_path / "scratch/plain")
    assert images_of(index, folder, tmp_path / "scratch") == PICTURES[:2]


ADDRESSES = {
    "urls.parquet": parquet_of(pa.table({"URL": ["http://a.example/1.jpg"], "TEXT": ["a"]})),
    "urls.csv": b"OriginalURL,Title\nhttp://a.example/1.jpg,a\n",
    "urls.tsv": b"a caption\thttp://a.example/1.jpg\n",
    "urls.jsonl": lines_of({"image": "https://a.example/1.jpg", "caption": "a"}),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_list_of_addresses_is_sent_to_the_download(tmp_path, name):
    folder = write_files(tmp_path / "pool", {name: ADDRESSES[name]})

    with pytest.raises(ShardError, match=rf"{name}: .*kedro run --pipelines download"):
        read_pool(folder, tmp_path / "scratch")


def test_columns_may_be_named(tmp_path):
    table = pa.table({"a": PICTURES, "image": PICTURES[::-1], "b": CAPTIONS, "caption": ["x"] * 3})
    folder = write_files(tmp_path / "pool", {"0.parquet": parquet_of(table)})

    index = read_pool(folder, tmp_path / "scratch", image_column="a", caption_column="b")

    assert index.pairs["caption"].to_pylist() == CAPTIONS
    assert images_of(index, folder, tmp_path / "scratch") == PICTURES


@pytest.mark.parametrize(
    ("table", "named", "message"),
    [
        ({"jpg": PICTURES, "label": [1, 2, 3]}, {}, r"no column for the caption among jpg, label"),
        ({"blob": PICTURES, "text": CAPTIONS}, {}, r"no column for the image .*pool\.image_column"),
        ({"jpg": PICTURES, "text": CAPTIONS}, {"image_column": "x"}, r"image_column is 'x'"),
    ],
)
def test_missing_column_is_named_with_what_there_is(tmp_path, table, named, message):
    folder = write_files(tmp_path / "pool", {"0.parquet": parquet_of(pa.table(table))})

    with pytest.raises(ShardError, match=message):
        read_pool(folder, tmp_path / "scratch", **named)


def test_row_numbers_of_plain_forms_reach_over_row_groups_and_batches(tmp_path, monkeypatch):
    table = pa.table({"jpg": [distinct_picture(n) for n in range(150)], "text": ["a"] * 150})
    folder = write_files(tmp_path / "pool", {"0.parquet": parquet_of(table, row_group_size=70)})

    index = read_pool(folder, tmp_path / "scratch")

    assert index.pairs["key"].to_pylist() == [f"{n:09d}" for n in range(150)]
    images = PoolImages(index.pairs, folder, plain_forms=tmp_path / "scratch/plain")
    assert images.read(149) == distinct_picture(149)


def _remove(folder) -> None:
    import shutil

    shutil.rmtree(folder)
