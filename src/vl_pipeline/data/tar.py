"""Where the members of a tar archive lie, grouped into WebDataset samples.

Nothing is ever extracted: a pass over the headers (USTAR, GNU and PAX) notes names and byte
ranges. Python's `tarfile` is not used, because an archive from the web may be hostile: a negative
size sends `tarfile` in circles, an extension header is loaded whatever its length, and a damaged
header in the middle ends the archive without a word. Here each header moves the place forward,
and whatever stops the pass before the archive's end is damage, and is reported.
"""

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512
_MAX_EXTENSION_BYTES = 2**20  # of a long name, or of one PAX header; libarchive's limit of a name
_SHOWN_CHARACTERS = 200
_FILES = b"0\0007"
_FOLDERS_AND_LABELS = b"5DV"
_KINDS = {
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "device",
    b"4": "device",
    b"6": "pipe",
    b"S": "sparse file",
}
_NOTES_OF_MACOS = ("._", ".DS_Store")  # written beside each file, and about none of the pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file within an archive: its bytes are archive[offset : offset + num_bytes].

    Attributes:
        suffix: Of its name, in lower case.
        offset: Of its first byte.
        num_bytes: How many follow.
        kind: `file`, or what it is instead: a link, a device, a pipe or a sparse file has no
            bytes of its own in the archive that could be used.
    """

    suffix: str
    offset: int
    num_bytes: int
    kind: str = "file"


@dataclass(frozen=True, kw_only=True)
class TarIndex:
    """Members by sample key, in archive order, and what was found broken.

    Attributes:
        samples: Key to members; the key is the member's path up to the first dot of its name.
        repeated_keys: The key of each sample that came again, as often as it came again; its
            members are not in `samples`.
        damage: Why reading stopped before the archive's end, or None.
    """

    samples: dict[str, list[Member]]
    repeated_keys: list[str]
    damage: str | None


class _DamageError(Exception):
    """Why the rest of an archive cannot be read."""


def index_tar(path: Path) -> TarIndex:
    """Index the members of an uncompressed tar, as they come.

    Members that follow one another under one key are a sample; a name that comes again begins
    another. Folders, volume labels and the notes that macOS adds (`._*`, `.DS_Store`) are passed
    over. A member that would reach past the end of the file is left out and reported as damage.
    """
    samples: dict[str, list[Member]] = {}
    repeated: list[str] = []
    damage = None
    current_key, current, suffixes = None, [], set()
    with mapped(path) as archive:
        try:
            for key, member in _members(archive):
                if key != current_key or member.suffix in suffixes:
                    current_key, current, suffixes = key, [], set()
                    if key in samples:
                        repeated.append(key)
                    else:
                        samples[key] = current
                current.append(member)
                suffixes.add(member.suffix)
        except _DamageError as found:
            damage = str(found)
    return TarIndex(samples=samples, repeated_keys=repeated, damage=damage)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Open a file as bytes that are read when they are looked at."""
    if path.stat().st_size == 0:
        yield b""  # an empty file cannot be mapped
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def split_member_name(name: str) -> tuple[str, str]:
    """Split `a/b/0001.seg.png` into its sample key `a/b/0001` and its suffix `seg.png`."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _members(archive: mmap.mmap | bytes) -> Iterator[tuple[str, Member]]:
    """Walk the headers: key and member of each, in archive order."""
    start = 0
    extension: dict[str, bytes] = {}  # what the headers before a member's own say of it
    if not len(archive):
        raise _DamageError("empty file")
    while (header := archive[start : start + _BLOCK_BYTES]).strip(b"\0"):
        _require_checksum(header, start)
        kind, offset = header[156:157], start + _BLOCK_BYTES
        num_bytes = _number(header[124:136], start)
        if kind in b"LKxXg":
            _require_end(archive, offset, num_bytes, f"the extension header at byte {start}")
            extension |= _extension(archive, kind, offset, num_bytes)
        else:
            name = _name(header, extension)
            if kind == b"S":
                offset = _after_sparse_map(archive, header, offset)
            if kind in _KINDS and kind != b"S":
                num_bytes = 0  # whatever it says: of a link it may be the size of its target
            elif "size" in extension:
                num_bytes = _pax_size(extension["size"], start)
            if offset + num_bytes > len(archive):
                _require_end(archive, offset, num_bytes, f"'{name[:_SHOWN_CHARACTERS]}'")
            if not _is_passed_over(kind, name):
                key, suffix = split_member_name(name)
                what = _kind(kind, extension)
                yield key, Member(suffix=suffix, offset=offset, num_bytes=num_bytes, kind=what)
            extension = {}
        start = offset + -(-num_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
    if extension or start > len(archive):
        raise _DamageError(f"the archive is cut, it goes on to byte {start} at least")
    _require_nothing_after(archive, start)


def _require_checksum(header: bytes, start: int) -> None:
    if len(header) == _BLOCK_BYTES:
        summed = header[:148] + b" " * 8 + header[156:]
        stated = _number(header[148:156], start)
        # Some old writers summed signed bytes.
        if _sum(summed) == stated or sum(byte - 256 * (byte > 127) for byte in summed) == stated:
            return
    raise _DamageError(f"unreadable header at byte {start}")


def _sum(block: bytes) -> int:
    """Sum a block's bytes, at a tenth of what `sum` costs.

    Adler-32's lower half is 1 and the sum, modulo 65521: more than half a block can reach.
    """
    halves = block[: _BLOCK_BYTES // 2], block[_BLOCK_BYTES // 2 :]
    return sum((zlib.adler32(half) & 0xFFFF) - 1 for half in halves)


def _number(field: bytes, start: int) -> int:
    """A header's number: octal digits, or base 256 where they are too few."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):  # a minus too
        raise _DamageError(f"unreadable header at byte {start}")
    return int(digits or b"0", 8)


def _pax_size(digits: bytes, start: int) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise _DamageError(f"unreadable size in the PAX header before byte {start}")
    return int(digits)


def _require_end(archive: mmap.mmap | bytes, offset: int, num_bytes: int, what: str) -> None:
    if offset + num_bytes > len(archive):
        raise _DamageError(f"{what} reaches past the end of the file")


def _extension(
    archive: mmap.mmap | bytes, kind: bytes, offset: int, num_bytes: int
) -> dict[str, bytes]:
    """What an extension header says of the member that follows; a global one is not heeded."""
    if kind not in b"LxX":
        return {}
    if num_bytes > _MAX_EXTENSION_BYTES:
        raise _DamageError(
            f"the extension header before byte {offset} has {num_bytes} bytes; at most "
            f"{_MAX_EXTENSION_BYTES} are read"
        )
    body = archive[offset : offset + num_bytes]
    return {"path": body.partition(b"\0")[0]} if kind == b"L" else _pax_records(body, offset)


def _pax_records(body: bytes, offset: int) -> dict[str, bytes]:
    """Read records of `length key=value` and a line feed, the length being the record's own."""
    records: dict[str, bytes] = {}
    start = 0
    while start < len(body):
        digits = body[start : start + 8].partition(b" ")[0]
        end = start + int(digits) if digits.isdigit() else start
        key, equals, value = body[start + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or end > len(body) or body[end - 1 : end] != b"\n":
            raise _DamageError(f"unreadable PAX header before byte {offset}")
        records[key.decode(errors="backslashreplace")] = value
        start = end
    return records


def _name(header: bytes, extension: dict[str, bytes]) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    name = prefix + b"/" + name if prefix else name
    name = extension.get("GNU.sparse.name", extension.get("path", name))
    return name.decode(errors="backslashreplace")


def _after_sparse_map(archive: mmap.mmap | bytes, header: bytes, offset: int) -> int:
    """Where the data of GNU's old kind of sparse file begins, after the rest of its map."""
    more = header[482:483]
    while more.strip(b"\0"):
        more = archive[offset + 504 : offset + 505]
        offset += _BLOCK_BYTES
    return offset


def _is_passed_over(kind: bytes, name: str) -> bool:
    is_folder = kind in _FOLDERS_AND_LABELS or (kind == b"\0" and name.endswith("/"))
    return is_folder or name.rpartition("/")[2].startswith(_NOTES_OF_MACOS)


def _kind(kind: bytes, extension: dict[str, bytes]) -> str:
    if extension and any(key.startswith("GNU.sparse.") for key in extension):
        return "sparse file"
    return "file" if kind in _FILES else _KINDS.get(kind, f"of unknown type {kind!r}")


def _require_nothing_after(archive: mmap.mmap | bytes, end: int) -> None:
    """Refuse a second archive behind the first; other bytes there mean nothing (POSIX)."""
    for start in range(end, len(archive), _BLOCK_BYTES):
        header = archive[start : start + _BLOCK_BYTES]
        if header[257:262] == b"ustar":
            raise _DamageError(f"another archive follows the end of this one, at byte {start}")
