"""A folder of input files, on disk or behind a URL: listed, stamped, and read by byte range."""

import os
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Protocol

import braceexpand

from vl_pipeline.errors import ShardError


class OpenFile(Protocol):
    """A file that is read by byte range, from any thread."""

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Read a range; shorter at the end of the file."""
        ...

    def stamp(self) -> str | None:
        """Give a text that changes when the file's content does; None where that would cost."""
        ...


class SourceFolder(Protocol):
    """A folder whose files are called by their path below it, with `/` between the parts."""

    def matches(self, pattern: str) -> list[str]:
        """Name the files that a glob matches; a pattern without wildcards may be taken on trust."""
        ...

    def address(self, name: str) -> str:
        """Give the place of a file, for messages."""
        ...

    def stamp(self, name: str) -> str:
        """Give a text that changes when the file's content does, without reading all of it."""
        ...

    def open(self, name: str) -> OpenFile:
        """Open a file for reads of ranges."""
        ...

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        ...

    def read_end(self, name: str, num_bytes: int) -> bytes:
        """Read the last bytes of a file; all of it, where it is shorter."""
        ...

    def local_copy(self, name: str) -> AbstractContextManager[Path]:
        """Give a path to the file's content while a `with` block lasts."""
        ...

    def has(self, name: str) -> bool:
        """Say whether a file of that name exists."""
        ...


def folder_at(location: str | Path) -> SourceFolder:
    """Give the folder at a path or an fsspec URL (`s3://bucket/pool`)."""
    if "://" in str(location):
        from vl_pipeline.data.sources.remote import RemoteFolder

        return RemoteFolder(str(location))
    return LocalFolder(Path(location))


def list_files(location: str | Path, pattern: str) -> list[str]:
    """List the files that a glob or brace pattern names below a folder, sorted, each once.

    `**` stands for any depth of folders, and alone for all files; hidden files are passed over.

    Raises:
        ShardError: If the pattern names no file, or a braced name does not exist.
    """
    if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
        raise ShardError(
            f"pool.shards is '{pattern}', which leaves pool.folder; name the folder there, and in "
            f"pool.shards only what lies below it"
        )
    folder = folder_at(location)
    found: set[str] = set()
    for expanded in braceexpand.braceexpand(pattern):
        matches = folder.matches(expanded)
        if not matches:
            raise ShardError(
                f"no shard matches '{expanded}' in {location}; set pool.folder and pool.shards "
                f"(conf/base/parameters_pool.yml), or make the embedded pool with "
                f"`kedro run --pipelines fabricate`"
            )
        found.update(matches)
    return sorted(found, key=lambda name: PurePosixPath(name).parts)


class LocalFolder:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def matches(self, pattern: str) -> list[str]:
        names = glob(pattern, root_dir=self._path, recursive=True)
        return [name for name in names if (self._path / name).is_file()]

    def address(self, name: str) -> str:
        return str(self._path / name)

    def stamp(self, name: str) -> str:
        # The time of the last change of the inode cannot be set back, unlike that of the content.
        return _stamp_of((self._path / name).stat())

    def open(self, name: str) -> "LocalFile":
        return LocalFile(self._path / name)

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def read_end(self, name: str, num_bytes: int) -> bytes:
        size = (self._path / name).stat().st_size
        return self.open(name).read(max(0, size - num_bytes), num_bytes)

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        yield self._path / name

    def has(self, name: str) -> bool:
        # pathlib raises of a name that is too long.
        return os.path.isfile(self._path / name)  # noqa: PTH113


class LocalFile:
    """A file that is closed when the last user lets go of it: a thread may still be reading."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, offset: int, num_bytes: int) -> bytes:
        return os.pread(self._descriptor, num_bytes, offset)

    def stamp(self) -> str | None:
        return _stamp_of(os.fstat(self._descriptor))


def _stamp_of(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
