import numpy as np
import pytest

from vl_pipeline.data import chunks
from vl_pipeline.data.chunks import made_in_chunks

IDS = [f"{number}" for number in range(7)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "_CHUNK", 3)


def test_what_was_made_before_a_stop_is_not_made_again(tmp_path):
    made = []

    def squares(rows: range) -> np.ndarray:
        if len(made) == 2:
            made.append("stopped")
            raise KeyboardInterrupt
        made.append(rows)
        return np.array(rows) ** 2

    with pytest.raises(KeyboardInterrupt):
        list(made_in_chunks(IDS, squares, folder=tmp_path, desc=""))
    parts = list(made_in_chunks(IDS, squares, folder=tmp_path, desc=""))

    assert made == [range(3), range(3, 6), "stopped", range(6, 7)]
    assert np.concatenate(parts).tolist() == [0, 1, 4, 9, 16, 25, 36]


def test_rows_of_other_ids_or_of_other_code_are_made_anew(tmp_path, monkeypatch):
    def make(ids: list[str], value: int) -> list[int]:
        whole = made_in_chunks(
            ids, lambda rows: np.full(len(rows), value), folder=tmp_path, desc=""
        )
        return np.concatenate(list(whole)).tolist()

    make(IDS, 0)

    assert make([*IDS[:-1], "other"], 1) == [0] * 6 + [1]
    monkeypatch.setattr(chunks, "digest_of_code", lambda: "other")
    assert make(IDS, 2) == [2] * 7
