import gzip
import io
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import pair_members, picture, write_tar
from vl_pipeline.data.tar import TarIndex, index_tar, split_member_name

BLOCK = 512
END = bytes(2 * BLOCK)


def with_checksum(block: bytes | bytearray) -> bytes:
    """A header whose checksum fits, whatever else it says."""
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return bytes(block[:148]) + b"%06o\0 " % total + bytes(block[156:])


def header(name: str, *, kind: bytes = tarfile.REGTYPE, size: bytes = b"%011o\0" % 0) -> bytes:
    """A header as no archiver would write it."""
    block = bytearray(BLOCK)
    block[: len(name)] = name.encode()
    block[124:136] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    return with_checksum(block)


def file(name: str, content: bytes, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header and its content, padded to whole blocks."""
    padding = bytes(-len(content) % BLOCK)
    return header(name, kind=kind, size=b"%011o\0" % len(content)) + content + padding


def pax(*records: bytes) -> bytes:
    """A PAX header with records that may say anything."""
    body = b"".join(b"%03d %s\n" % (len(record) + 5, record) for record in records)
    return file("PaxHeader", body, kind=b"x")


def suffixes(index: TarIndex) -> dict[str, list[str]]:
    return {key: [member.suffix for member in members] for key, members in index.samples.items()}


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


def test_key_that_comes_again_is_reported_and_its_later_members_are_left_out(tmp_path):
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


def test_key_is_reported_as_often_as_it_comes_again(tmp_path):
    parts = [pair_members(key, image=b"image") for key in "abaaba"]

    index = index_tar(write_tar(tmp_path / "0.tar", *parts))

    assert index.repeated_keys == ["a", "a", "b", "a"]
    assert suffixes(index) == {"a": ["jpg", "txt"], "b": ["jpg", "txt"]}


def test_key_that_comes_again_at_once_is_reported_too(tmp_path):
    path = write_tar(
        tmp_path / "0.tar",
        pair_members("a", caption="first", image=b"first"),
        pair_members("a", caption="later", image=b"later"),
    )

    index = index_tar(path)

    assert index.repeated_keys == ["a"]
    assert len(index.samples["a"]) == 2


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (b"?", "of unknown type b'?'"),
    ],
)
def test_member_that_is_no_file_is_listed_as_what_it_is(tmp_path, kind, what):
    path = tmp_path / "0.tar"
    path.write_bytes(header("a.jpg", kind=kind) + file("a.txt", b"a caption") + END)

    index = index_tar(path)

    assert [(m.suffix, m.kind, m.num_bytes) for m in index.samples["a"]] == [
        ("jpg", what, 0),
        ("txt", "file", 9),
    ]
    assert index.damage is None


@pytest.mark.parametrize("num_bytes", [0, 10 * BLOCK])
def test_size_of_a_link_moves_nothing(tmp_path, num_bytes):
    path = tmp_path / "0.tar"
    link = header("a.jpg", kind=tarfile.LNKTYPE, size=b"%011o\0" % num_bytes)
    path.write_bytes(link + file("b.txt", b"b") + END)

    assert list(index_tar(path).samples) == ["a", "b"]


def test_folders_labels_and_notes_of_macos_are_passed_over_and_part_no_pair(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(
        header("label", kind=b"V")
        + header("folder", kind=tarfile.DIRTYPE)
        + header("old folder/", kind=tarfile.AREGTYPE)
        + file("._a.jpg", b"note")
        + file("a.jpg", b"image")
        + file("folder/._a.txt", b"note")
        + file("folder/.DS_Store", b"note")
        + file("a.txt", b"caption")
        + END
    )

    index = index_tar(path)

    assert suffixes(index) == {"a": ["jpg", "txt"]}
    assert index.repeated_keys == []


def test_sparse_file_is_listed_as_such_and_what_follows_is_found(tmp_path):
    path = tmp_path / "0.tar"
    sparse = bytearray(header("a.jpg", kind=b"S", size=b"%011o\0" % 5))
    sparse[482] = 1  # the map goes on in two more blocks
    more, last = bytearray(BLOCK), bytes(BLOCK)
    more[504] = 1
    path.write_bytes(
        with_checksum(sparse)
        + more
        + last
        + b"bytes".ljust(BLOCK, b"\0")
        + pax(b"GNU.sparse.name=b.jpg", b"GNU.sparse.major=1")
        + file("GNUSparseFile.0/b.jpg", b"bytes")
        + file("c.jpg", b"c")
        + END
    )

    index = index_tar(path)

    assert {key: [m.kind for m in members] for key, members in index.samples.items()} == {
        "a": ["sparse file"],
        "b": ["sparse file"],
        "c": ["file"],
    }
    assert index.damage is None


@pytest.mark.parametrize(
    "cut_header", [False, True], ids=["map ends with the file", "data ends with the file"]
)
def test_sparse_file_that_is_cut_is_damage(tmp_path, cut_header):
    sparse = bytearray(header("a.jpg", kind=b"S", size=b"%011o\0" % 5))
    sparse[482] = not cut_header
    path = tmp_path / "0.tar"
    path.write_bytes(with_checksum(sparse))

    index = index_tar(path)

    assert index.samples == {}
    assert index.damage == "'a.jpg' reaches past the end of the file"


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


def test_archive_cut_within_the_padding_of_its_last_member_is_damage(tmp_path):
    path = write_tar(tmp_path / "0.tar", pair_members("a", caption="a caption"))
    path.write_bytes(path.read_bytes()[: BLOCK + 9])

    index = index_tar(path)

    assert suffixes(index) == {"a": ["txt"]}
    assert index.damage == "the archive is cut, it goes on to byte 1024 at least"


def test_archive_behind_another_is_damage_and_other_bytes_there_are_not(tmp_path):
    path = tmp_path / "0.tar"
    first = file("a.txt", b"a") + END

    path.write_bytes(first + b"whatever an old tape held".ljust(BLOCK))
    assert index_tar(path).damage is None

    path.write_bytes(first + file("b.txt", b"b") + END)
    assert index_tar(path).damage == "another archive follows the end of this one, at byte 2048"


def test_archive_within_an_archive_is_a_file_like_others(tmp_path):
    inner = file("b.jpg", b"b") + END

    path = tmp_path / "0.tar"
    path.write_bytes(file("a.tar", inner) + file("c.jpg", b"c") + END)

    assert suffixes(index_tar(path)) == {"a": ["tar"], "c": ["jpg"]}


NEGATIVE = b"\xff" * 11 + b"\0"
HUGE = b"\x80" + b"\xff" * 11

HOSTILE = {
    "size that is negative": header("b.jpg", size=NEGATIVE),
    "size that is negative in digits": header("b.jpg", size=b"-0000001000\0"),
    "size that is huge": header("b.jpg", size=HUGE),
    "size of a folder that is negative": header("b", kind=tarfile.DIRTYPE, size=NEGATIVE),
    "size of a PAX header that is negative": header("b", kind=b"x", size=NEGATIVE),
    "size of a PAX header that is huge": header("b", kind=b"x", size=HUGE),
    "PAX size that is negative": pax(b"size=-512") + file("b.jpg", b"b"),
    "PAX size that is huge": pax(b"size=" + b"9" * 20) + file("b.jpg", b"b"),
    "PAX size of more digits than Python reads": pax(b"size=" + b"9" * 900) + file("b.jpg", b"b"),
    "PAX size that is no number": pax(b"size=1e3") + file("b.jpg", b"b"),
    "PAX record longer than its header": file("x", b"99 path=b\n", kind=b"x") + file("b", b""),
    "PAX record of no length": file("x", b"0 path=b\n", kind=b"x") + file("b", b""),
    "PAX record without a value": file("x", b"7 path\n", kind=b"x") + file("b", b""),
    "long name beyond the limit": file("x", b"n" * (2**20 + 1), kind=b"L") + file("b", b""),
    "extension header of nothing": pax(b"path=b.jpg"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_header_is_damage_and_what_came_before_is_kept(tmp_path, case):
    path = tmp_path / "0.tar"
    path.write_bytes(file("a.jpg", b"image") + HOSTILE[case] + END)

    index = index_tar(path)

    assert suffixes(index) == {"a": ["jpg"]}
    assert index.damage


def test_names_at_the_limit_and_chains_of_headers_are_read(tmp_path):
    path = tmp_path / "0.tar"
    longest = b"n" * (2**20 - 5) + b".jpg\0"
    path.write_bytes(
        file("x", longest, kind=b"L")
        + file("b", b"image")
        + file("x", b"c.jpg\0", kind=b"L") * 3000
        + header("g", kind=b"g")
        + header("K", kind=b"K")
        + file("c", b"image")
        + END
    )

    index = index_tar(path)

    assert [len(key) for key in index.samples] == [2**20 - 5, 1]
    assert index.damage is None


def test_members_without_number_under_one_key_take_no_square_of_time(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(b"".join(header(f"a.{n}") for n in range(20_000)) + END)
    began = time.process_time()

    index = index_tar(path)

    assert len(index.samples["a"]) == 20_000
    assert time.process_time() - began < 4


def test_global_header_names_and_sizes_nothing(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(file("g", b"013 path=b.jpg\n", kind=b"g") + file("a.jpg", b"a") + END)

    assert suffixes(index_tar(path)) == {"a": ["jpg"]}


def test_signed_checksums_of_old_archivers_are_accepted(tmp_path):
    block = bytearray(header("\u00e9.jpg"))
    total = sum(byte - 256 * (byte > 127) for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % total
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(block) + END)

    assert list(index_tar(path).samples) == ["\u00e9"]


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=150
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.lists(NAMES, max_size=2), NAMES, st.binary(max_size=1500)), max_size=5),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_lie_where_tarfile_finds_them(tmp_path_factory, drawn, format):
    members = [
        ("/".join([*folders, f"{n}{name}"]), data) for n, (folders, name, data) in enumerate(drawn)
    ]
    members = [(name, data) for name, data in members if not name.endswith("/")]
    path = write_tar(tmp_path_factory.mktemp("tar") / "0.tar", members, format=format)

    index = index_tar(path)

    with tarfile.open(path) as archive:
        expected = {
            (*split_member_name(member.name), member.offset_data, member.size)
            for member in archive
            if not member.name.rpartition("/")[2].startswith(("._", ".DS_Store"))
        }
    found = {(k, m.suffix, m.offset, m.num_bytes) for k, ms in index.samples.items() for m in ms}
    repeated = {key for key, *_ in expected if key in index.repeated_keys}
    assert {e for e in expected if e[0] not in repeated} == {
        f for f in found if f[0] not in repeated
    }
    assert index.damage is None


def whole_archive(format: int) -> bytes:
    """Two pairs, with long names where the format has them."""
    stem = "k" * (120 if format != tarfile.USTAR_FORMAT else 20)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:", format=format) as archive:
        for name, data in pair_members("a", image=b"i" * 700) + pair_members(stem, image=b"image"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([whole_archive(tarfile.GNU_FORMAT), whole_archive(tarfile.PAX_FORMAT)]),
    st.lists(st.tuples(st.integers(0, 7 * BLOCK), st.binary(min_size=1, max_size=20)), max_size=4),
    st.booleans(),
)
def test_damaged_archive_is_read_in_no_time_up_to_the_damage(
    tmp_path_factory, whole, changes, checksums_fit
):
    damaged = bytearray(whole)
    for place, data in changes:
        damaged[place : place + len(data)] = data
    for start in range(0, len(damaged) if checksums_fit else 0, BLOCK):
        if damaged[start + 257 : start + 262] == b"ustar":
            damaged[start : start + BLOCK] = with_checksum(damaged[start : start + BLOCK])
    path = tmp_path_factory.mktemp("tar") / "0.tar"
    path.write_bytes(damaged)
    began = time.process_time()

    index = index_tar(path)

    assert time.process_time() - began < 1
    first_change = min((place for place, _ in changes), default=len(whole))
    path.write_bytes(whole)
    for key, members in index_tar(path).samples.items():
        unhurt = [m for m in members if m.offset + m.num_bytes <= first_change]
        assert unhurt == index.samples.get(key, [])[: len(unhurt)]
    assert all(
        m.num_bytes >= 0 and m.offset + m.num_bytes <= len(damaged)
        for members in index.samples.values()
        for m in members
    )
