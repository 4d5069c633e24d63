import gzip
import tarfile

import pytest

from tests.fakes import pair_members, picture, write_tar
from vl_pipeline.data.tar import index_tar, split_member_name

BLOCK = 512


@pytest.mark.parametrize(
    ("name", "key", "suffix"),
    [
        ("0001.jpg", "0001", "jpg"),
        ("0001.seg.png", "0001", "seg.png"),
        ("a/b/0001.JPG", "a/b/0001", "jpg"),
        ("a.b/0001.jpg", "a.b/0001", "jpg"),
        ("noext", "noext", ""),
        ("ünïcode kéy.txt", "ünïcode kéy", "txt"),
    ],
)
def test_key_is_the_path_up_to_the_first_dot_of_the_name(name, key, suffix):
    assert (key, suffix) == split_member_name(name)


@pytest.mark.parametrize(
    "format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=str
)
def test_members_are_grouped_by_key_and_found_at_their_bytes(tmp_path, format):
    long_key = "folder/" + "k" * 120 if format != tarfile.USTAR_FORMAT else "folder/k"
    path = write_tar(
        tmp_path / "0.tar",
        pair_members("a", caption="first", image=b"image of a"),
        pair_members(long_key, caption="second", image=b"image of k"),
        format=format,
    )

    index = index_tar(path)

    data = path.read_bytes()
    found = {
        key: {m.suffix: data[m.offset : m.offset + m.num_bytes] for m in members}
        for key, members in index.samples.items()
    }
    assert {
        "a": {"jpg": b"image of a", "txt": b"first"},
        long_key: {"jpg": b"image of k", "txt": b"second"},
    } == found
    assert index.damage is None
    assert index.repeated_keys == []


def test_keys_are_in_archive_order(tmp_path):
    path = write_tar(tmp_path / "0.tar", *(pair_members(key) for key in "cab"))

    assert list(index_tar(path).samples) == ["c", "a", "b"]


def test_key_that_comes_again_is_reported_once_and_its_later_members_are_left_out(tmp_path):
    path = write_tar(
        tmp_path / "0.tar",
        pair_members("a", caption="first", image=b"first"),
        pair_members("b", caption="other", image=b"other"),
        pair_members("a", caption="later", image=b"later"),
    )

    index = index_tar(path)

    first = index.samples["a"][1]
    assert index.repeated_keys == ["a"]
    assert len(index.samples["a"]) == 2
    assert path.read_bytes()[first.offset : first.offset + first.num_bytes] == b"first"


def test_key_that_comes_again_at_once_is_reported_too(tmp_path):
    path = write_tar(
        tmp_path / "0.tar",
        pair_members("a", caption="first", image=b"first"),
        pair_members("a", caption="later", image=b"later"),
    )

    index = index_tar(path)

    assert index.repeated_keys == ["a"]
    assert len(index.samples["a"]) == 2


def test_links_and_folders_are_passed_over(tmp_path):
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w:") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    index = index_tar(path)

    assert index.samples == {}
    assert index.damage is None


def test_archive_of_zero_blocks_is_empty_and_whole(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(20 * BLOCK))

    index = index_tar(path)

    assert index.samples == {}
    assert index.damage is None


@pytest.mark.parametrize(
    "content",
    [b"", b"no tar at all", gzip.compress(bytes(20 * BLOCK), mtime=0)],
    ids=["empty", "text", "gzip"],
)
def test_file_that_is_no_tar_is_damage(tmp_path, content):
    path = tmp_path / "0.tar"
    path.write_bytes(content)

    index = index_tar(path)

    assert index.samples == {}
    assert index.damage


def test_archive_cut_within_a_member_keeps_what_came_before(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("a"), [("b.jpg", bytes(4 * BLOCK))])
    # header and block of a.txt, header of b.jpg, and one of its four blocks
    path.write_bytes(path.read_bytes()[: 4 * BLOCK])

    index = index_tar(path)

    assert list(index.samples) == ["a"]
    assert index.damage is not None


def test_bad_header_in_the_middle_keeps_what_came_before_and_is_damage(tmp_path):
    path = write_tar(tmp_path / "0.tar", *(pair_members(key, image=picture()) for key in "abc"))
    data = bytearray(path.read_bytes())
    second_header = data.index(b"b.jpg")
    data[second_header] ^= 1  # the header's checksum no longer fits
    path.write_bytes(data)

    index = index_tar(path)

    assert list(index.samples) == ["a"]
    assert f"unreadable header at byte {second_header}" == index.damage


@pytest.mark.parametrize("num_bytes_left", [0, 1, 100, 511])
def test_archive_cut_within_a_header_is_damage_unless_it_ends_between_members(
    tmp_path, num_bytes_left
):
    path = write_tar(tmp_path / "0.tar", pair_members("a"), pair_members("b"))
    path.write_bytes(path.read_bytes()[: 2 * BLOCK + num_bytes_left])

    index = index_tar(path)

    assert list(index.samples) == ["a"]
    assert (index.damage is None) == (num_bytes_left == 0)
