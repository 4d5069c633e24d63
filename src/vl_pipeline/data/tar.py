"""Where the members of a tar archive lie, grouped into WebDataset samples.

Python's own `tarfile` parses the headers (PAX, GNU and USTAR). It stops without a word at a
damaged header in the middle of an archive, so the place where it stopped is checked here:
anything but the zero blocks that end an archive is damage, and is reported.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file within an archive: its bytes are archive[offset : offset + num_bytes]."""

    suffix: str
    offset: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class TarIndex:
    """Members by sample key, in archive order, and what was found broken.

    Attributes:
        samples: Key to members; the key is the member's path up to the first dot of its name.
        repeated_keys: Keys that came again, at once or after other samples; the later members
            are not in `samples`.
        damage: Why reading stopped before the archive's end, or None.
    """

    samples: dict[str, list[Member]]
    repeated_keys: list[str]
    damage: str | None


def index_tar(path: Path) -> TarIndex:
    """Index the regular files of an uncompressed tar; links, devices and folders are passed over.

    A member that would reach past the end of the file is left out and reported as damage.
    """
    samples: dict[str, list[Member]] = {}
    repeated: list[str] = []
    size = path.stat().st_size
    damage = None
    current = None
    try:
        with tarfile.open(path, "r:", errors="backslashreplace") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    damage = f"'{member.name}' reaches past the end of the file"
                    break
                key, suffix = split_member_name(member.name)
                present = samples.get(key, [])
                if present and (key != current or any(m.suffix == suffix for m in present)):
                    repeated.append(key)
                    current = None  # what follows of this key belongs to the repetition
                    continue
                current = key
                samples.setdefault(key, []).append(
                    Member(suffix=suffix, offset=member.offset_data, num_bytes=member.size)
                )
            damage = damage or _rest_after(path, archive.offset)
    except (tarfile.TarError, EOFError) as error:
        damage = damage or f"{type(error).__name__}: {error}"
    return TarIndex(samples=samples, repeated_keys=sorted(set(repeated)), damage=damage)


def split_member_name(name: str) -> tuple[str, str]:
    """Split `a/b/0001.seg.png` into its sample key `a/b/0001` and its suffix `seg.png`."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _rest_after(path: Path, offset: int) -> str | None:
    with open(path, "rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK_BYTES)
    if block.strip(b"\0"):
        return f"unreadable header at byte {offset}"
    return None
