import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vl_pipeline.data.atomic import atomic_file, atomic_folder, write_json, write_table


class WriterError(Exception):
    pass


def test_file_holds_what_the_writer_wrote(tmp_path):
    path = tmp_path / "made" / "on the way" / "note.txt"

    with atomic_file(path) as temporary:
        temporary.write_text("new")

    assert path.read_text() == "new"


def test_file_is_not_seen_before_the_writer_has_finished(tmp_path):
    path = tmp_path / "note.txt"

    with atomic_file(path) as temporary:
        temporary.write_text("half")
        seen_while_writing = path.exists()

    assert not seen_while_writing


def test_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")

    with path.open() as reader:
        with atomic_file(path) as temporary:
            temporary.write_text("new")
        read = reader.read()

    assert read == "old"


def test_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")

    with pytest.raises(WriterError), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise WriterError

    assert [path] == list(tmp_path.iterdir())
    assert path.read_text() == "old"


def test_folder_replaces_the_old_one_as_a_whole(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "old").write_text("old")

    with atomic_folder(folder) as temporary:
        (temporary / "new").write_text("new")

    assert [folder] == list(tmp_path.iterdir())
    assert [folder / "new"] == list(folder.iterdir())


def test_writer_that_raises_leaves_the_old_folder_and_nothing_else(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "old").write_text("old")

    with pytest.raises(WriterError), atomic_folder(folder) as temporary:
        (temporary / "new").write_text("new")
        raise WriterError

    assert [folder] == list(tmp_path.iterdir())
    assert [folder / "old"] == list(folder.iterdir())


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "old").write_text("old")

    with pytest.raises(FileNotFoundError), atomic_folder(folder) as temporary:
        shutil.rmtree(temporary)

    assert [folder / "old"] == list(folder.iterdir())


def test_link_to_a_folder_on_another_disk_stays_a_link(tmp_path):
    (tmp_path / "large_disk/models").mkdir(parents=True)
    link = tmp_path / "models"
    link.symlink_to(tmp_path / "large_disk/models")

    for content in ("first", "second"):
        with atomic_folder(link) as folder:
            (folder / "weights").write_text(content)

    assert link.is_symlink()
    assert (tmp_path / "large_disk/models/weights").read_text() == "second"
    assert [path.name for path in (tmp_path / "large_disk").iterdir()] == ["models"]


def test_folder_starts_empty_after_a_writer_was_killed(tmp_path):
    folder = tmp_path / "tokens"
    with atomic_folder(folder) as temporary:
        name_of_temporary = temporary.name
    (tmp_path / name_of_temporary).mkdir()
    (tmp_path / name_of_temporary / "leftover").write_text("half")

    with atomic_folder(folder) as temporary:
        found = list(temporary.iterdir())

    assert found == []


def test_json_is_written_in_a_stable_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [True, None]})
    write_json(tmp_path / "b.json", {"a": [True, None], "b": 1})

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [True, None], "b": 1}


def test_json_refuses_numbers_that_json_has_not(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})

    assert list(tmp_path.iterdir()) == []


def test_equal_tables_give_equal_bytes(tmp_path):
    table = pa.table({"uid": ["a", "b"], "score": [0.5, None]})

    write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "b.parquet", pa.table({"uid": ["a", "b"], "score": [0.5, None]}))

    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert table.equals(pq.read_table(tmp_path / "a.parquet"))
