import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes import pool_table
from vl_pipeline.errors import ParameterError
from vl_pipeline.screening.block_list import blocked
from vl_pipeline.screening.pictures import Pictures

POOL = pool_table(4, url=["http://a.example/1", None, None, "http://a.example/4"])
UID, HASH = POOL["uid"][1].as_py(), POOL["image_hash"][2].as_py()


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("list.txt", f"{UID}\n\n  {HASH} \nhttp://a.example/4\n# a note\n", [1, 2, 3]),
        ("list.csv", f"why,uid\nasked,{UID}\n", [1]),
        ("list.csv", f"image_hash,url\n{HASH},\n,http://a.example/1\n", [0, 2]),
    ],
)
def test_pair_is_blocked_by_uid_image_or_url(tmp_path, name, content, rows):
    (tmp_path / name).write_text(content)

    finding = blocked(Pictures(POOL), block_list=tmp_path / name)

    assert rows == finding.rows.tolist()
    assert finding.rule == "blocked"


def test_parquet_lists_are_read(tmp_path):
    pq.write_table(pa.table({"uid": [UID], "note": [3]}), tmp_path / "list.parquet")

    finding = blocked(Pictures(POOL), block_list=tmp_path / "list.parquet")

    assert finding.rows.tolist() == [1]
    assert finding.matched_to == [UID]


def test_a_list_that_cannot_be_used_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_text("unknown")

    with pytest.raises(ParameterError, match=r"list\.txt: line 1: 'unknown' is no uid"):
        blocked(Pictures(POOL), block_list=tmp_path / "list.txt")
