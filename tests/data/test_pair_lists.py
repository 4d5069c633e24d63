from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from vl_pipeline.data.pair_lists import read_pair_list
from vl_pipeline.errors import ParameterError

A, B, C = "a" * 32, "b" * 32, "0123456789abcdef" * 2
URL = "https://example.com/cat.jpg?w=5,6"


def text(tmp_path: Path, content: str | bytes, name: str = "remove.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(*rows: tuple[str, str, str | None]) -> pa.Table:
    names = ("uid", "image_hash", "url")
    return pa.table(
        {n: pa.array(v, pa.string()) for n, v in zip(names, zip(*rows, strict=True), strict=True)}
    )


def test_digests_of_a_text_file_are_uids_and_image_hashes_alike(tmp_path):
    path = text(tmp_path, f"\ufeff# removed on request\r\n{A}\r\n\r\n  {B.upper()} \r\n{URL}\r\n")

    found = read_pair_list(path)

    assert found.uids == found.image_hashes == {A, B}
    assert found.urls == {URL}


def test_each_column_of_a_csv_stands_for_itself_and_empty_cells_for_nothing(tmp_path):
    path = text(tmp_path, f'why,url,uid\nasked,"{URL}",\nasked,,{A}\n', "remove.csv")

    found = read_pair_list(path)

    assert (found.uids, found.image_hashes, found.urls) == ({A}, frozenset(), {URL})


def test_parquet_and_csv_of_one_table_are_one_list(tmp_path):
    table = pa.table({"uid": [A, None], "image_hash": [B, C], "url": [URL, None], "size": [1, 2]})
    parquet.write_table(table, tmp_path / "remove.parquet")
    csv.write_csv(table, tmp_path / "remove.csv")

    found = read_pair_list(tmp_path / "remove.parquet")

    assert found == read_pair_list(tmp_path / "remove.csv")
    assert (found.uids, found.image_hashes, found.urls) == ({A}, {B, C}, {URL})


def test_a_pair_is_listed_if_any_of_the_three_names_it(tmp_path):
    listed = read_pair_list(text(tmp_path, f"{A}\n{URL}\n"))

    held = listed.holds(pairs((A, C, None), (C, A, None), (C, C, URL), (C, C, None), (B, C, "u")))

    assert held.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("remove.txt", "", "lists no pair"),
        ("remove.txt", "# nothing\n\n", "lists no pair"),
        ("remove.txt", f"{A}\nabc\n", "line 2: 'abc' is no uid; accepted is 32 hexadecimal digits"),
        ("remove.txt", f"{A} {B}\n", "line 1"),
        ("remove.txt", b"\xff\xfe\x00", "cannot be read"),
        ("remove.csv", f"id\n{A}\n", "one of uid, image_hash, url is needed"),
        ("remove.csv", f"uid\n{A}\nhttps://a.b/c\n", "line 3: 'https://a.b/c' is no uid"),
        ("remove.csv", "url\nwww.a.b/c.jpg\n", "is no url; accepted is a URL"),
        ("remove.csv", "", "is needed"),
        ("remove.parquet", "uid", "cannot be read"),
        ("remove.json", f'["{A}"]', "is a .csv, .parquet or .txt file"),
    ],
)
def test_a_list_that_is_not_understood_is_refused_and_names_the_place(
    tmp_path, name, content, message
):
    path = text(tmp_path, content, name)

    with pytest.raises(ParameterError, match=message) as error:
        read_pair_list(path)

    assert str(path) in str(error.value)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"gone\.txt: cannot be read"):
        read_pair_list(tmp_path / "gone.txt")


def test_numbers_in_place_of_digests_are_refused(tmp_path):
    parquet.write_table(pa.table({"uid": [1, 2]}), tmp_path / "remove.parquet")

    with pytest.raises(ParameterError, match="row 1: '1' is no uid"):
        read_pair_list(tmp_path / "remove.parquet")
