import pytest

from tests.fakes import write_tar
from vl_pipeline.data.sources.folder import LocalFolder, list_files
from vl_pipeline.errors import ShardError


def test_pattern_names_files_sorted_and_each_once(tmp_path):
    for number in (2, 0, 1):
        write_tar(tmp_path / f"{number}.tar")

    assert list_files(tmp_path, "*.tar") == ["0.tar", "1.tar", "2.tar"]
    assert list_files(tmp_path, "{0..1}.tar") == ["0.tar", "1.tar"]
    assert list_files(tmp_path, "{0,[01]}.tar") == ["0.tar", "1.tar"]


def test_two_stars_name_the_files_of_all_folders_and_no_folder(tmp_path):
    for name in ("b/c/1.tar", "b/0.tar", "a.tar", ".hidden.tar"):
        write_tar(tmp_path / name)

    assert list_files(tmp_path, "**") == ["a.tar", "b/0.tar", "b/c/1.tar"]


def test_braced_file_that_does_not_exist_is_refused(tmp_path):
    write_tar(tmp_path / "0.tar")

    with pytest.raises(ShardError, match=r"no shard matches '1\.tar'"):
        list_files(tmp_path, "{0..1}.tar")


@pytest.mark.parametrize("pattern", ["../*.tar", "/etc/*", "a/../../b.tar"])
def test_pattern_that_leaves_the_folder_is_refused(tmp_path, pattern):
    with pytest.raises(ShardError, match=r"leaves pool\.folder"):
        list_files(tmp_path, pattern)


def test_folder_may_have_brackets_in_its_name(tmp_path):
    write_tar(tmp_path / "pool [v1]" / "0.tar")

    assert list_files(tmp_path / "pool [v1]", "*.tar") == ["0.tar"]


def test_a_name_that_no_file_can_have_is_not_there(tmp_path):
    write_tar(tmp_path / "0.tar")

    names = ("0.tar", "1.tar", "x" * 300, "\0")
    assert [LocalFolder(tmp_path).has(name) for name in names] == [True, False, False, False]


def test_stamp_changes_with_the_content_even_where_size_and_time_are_put_back(tmp_path):
    import os

    path = tmp_path / "0.tar"
    path.write_bytes(b"first")
    status = path.stat()
    folder = LocalFolder(tmp_path)
    first = folder.stamp("0.tar")

    assert folder.stamp("0.tar") == first
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.stamp("0.tar") != first
