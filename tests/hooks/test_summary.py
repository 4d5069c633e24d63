from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.projects import copy_project, run
from vl_pipeline.errors import ParameterError


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda file: file.write_text("no table"), "cannot be read as Parquet"),
        (
            lambda file: pq.write_table(pa.table({"key": ["a"], "caption": ["b"]}), file),
            "has no column caption_matches_image, relevant; correct it",
        ),
    ],
)
def test_a_file_that_is_no_truth_stops_the_run_before_its_first_node(
    tmp_path: Path, write, says: str
) -> None:
    project = copy_project(tmp_path)
    write(tmp_path / "truth.parquet")

    with pytest.raises(ParameterError, match=rf"report\.truth is .*truth\.parquet.*{says}"):
        run(project, "cit", params={"report": {"truth": str(tmp_path / "truth.parquet")}})

    assert not (project / "data").exists()
