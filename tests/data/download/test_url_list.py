import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vl_pipeline.data.download.url_list import read_url_list
from vl_pipeline.errors import ParameterError

ROWS = [("http://a.example/1.jpg", "12"), ("http://a.example/2.jpg", 'a "red"\nsquare')]


def read(path: Path, url_column: str = "url", caption_column: str = "caption"):
    table = read_url_list(path, url_column=url_column, caption_column=caption_column)
    return list(zip(table["url"].to_pylist(), table["caption"].to_pylist(), strict=True))


def test_csv_is_read_as_text_even_where_captions_are_numbers_or_hold_line_breaks(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "license,url,caption\n"
        "1,http://a.example/1.jpg,12\n"
        '2,http://a.example/2.jpg,"a ""red""\nsquare"\n'
    )

    assert read(path) == ROWS


def test_gzipped_jsonl_is_read_whatever_else_its_lines_hold(tmp_path):
    path = tmp_path / "list.jsonl.gz"
    lines = [json.dumps({"url": url, "size": [1], "caption": text}) for url, text in ROWS]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))

    assert read(path) == ROWS


def test_tsv_and_parquet_are_read_under_the_columns_names(tmp_path):
    urls, captions = ["http://a.example/1.jpg"], ["été"]
    (tmp_path / "list.tsv").write_text("TEXT\tURL\nété\thttp://a.example/1.jpg\n", "utf-8")
    pq.write_table(pa.table({"URL": urls, "TEXT": captions}), tmp_path / "list.parquet")

    for name in ("list.tsv", "list.parquet"):
        assert [(urls[0], captions[0])] == read(tmp_path / name, "URL", "TEXT")


def test_quotes_of_a_tsv_are_part_of_the_caption_and_swallow_no_row(tmp_path):
    captions = ['"it is" tall', '"never closed', "plain", '"again"', '5" pipe']
    lines = ["url\tcaption", *(f"http://a.example/{n}\t{c}" for n, c in enumerate(captions))]
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")

    assert [caption for _, caption in read(tmp_path / "list.tsv")] == captions


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl", "list.parquet"])
def test_missing_column_is_named_beside_those_there_are(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"url": ["u"], "TEXT": ["t"]}), path)
    elif name.endswith("jsonl"):
        path.write_text('{"url": "u", "TEXT": "t"}\n')
    else:
        path.write_text("url,TEXT\nu,t\n".replace(",", "\t" if name == "list.tsv" else ","))

    with pytest.raises(ParameterError, match=r"download.caption_column is 'caption'.*TEXT"):
        read(path)


@pytest.mark.parametrize(
    "name", ["absent.parquet", "list.xlsx", "damaged.parquet", "two_types.jsonl"]
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name):
    if not name.startswith("absent"):
        (tmp_path / name).write_text('{"url": "u", "caption": "t"}\n{"url": 3}\n')

    with pytest.raises(ParameterError, match=f"download.url_list is .*{name}"):
        read(tmp_path / name)


def test_column_that_is_no_text_or_comes_twice_is_refused_by_name(tmp_path):
    lists = pa.table({"url": ["http://a.example/1.jpg"], "caption": [["one", "two"]]})
    pq.write_table(lists, tmp_path / "lists.parquet")
    (tmp_path / "twice.csv").write_text("url,caption,caption\nhttp://a.example/1.jpg,one,two\n")

    for name in ("lists.parquet", "twice.csv"):
        with pytest.raises(ParameterError, match=f"{name}.*with texts in the columns .*caption"):
            read(tmp_path / name)


def test_list_without_rows_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("url,caption\n")

    with pytest.raises(ParameterError, match="no value"):
        read(tmp_path / "list.csv")


def test_laions_own_list_is_read(shared_data):
    rows = read(shared_data / "foreign/img2dataset_laion_test_1000.parquet", "URL", "TEXT")

    assert len(rows) == 1000
    assert rows[1][1] == "Tavern Brawl by velinov"
