"""A folder behind a URL, read through fsspec by byte range, with bounded retries.

A cut connection costs the range that was under way. A try that cannot succeed (no such file, no
permission) is not repeated.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import fsspec

from vl_pipeline.data.digest import digest_of_bytes, digest_of_value
from vl_pipeline.errors import ShardError

logger = logging.getLogger(__name__)

NUM_TRIES = 5
FIRST_WAIT_SECONDS = 0.5  # doubled after each try
_COPY_BYTES = 2**23
_STAMP_BYTES = 2**16
_VALIDATORS = ("ETag", "etag", "Content-MD5", "md5Hash", "Last-Modified", "LastModified", "mtime")
_ABSENT = (401, 403, 404, 410)  # S3 says 403 of what is not there to whoever may not list
_MAY_PASS = (408, 425, 429)  # HTTP's client errors that a later try can get past

Read = TypeVar("Read")


class RemoteFolder:
    """A folder of any file system that fsspec knows."""

    def __init__(self, url: str) -> None:
        """Take the folder's URL.

        Raises:
            ShardError: If nothing installed can read such URLs.
        """
        self._url = url.rstrip("/")
        self._is_http = url.startswith(("http://", "https://"))
        try:
            self._files, self._root = fsspec.url_to_fs(
                self._url,
                # Listings are kept for as long as a process lives: a stamp taken from one is old.
                use_listings_cache=False,
                **(_http_options() if self._is_http else {}),
            )
        except (ImportError, ValueError) as error:
            raise ShardError(
                f"pool.folder is '{url}', which cannot be read ({error}); accepted are a path and "
                f"the URLs that fsspec knows, s3:// and gs:// with `pip install vl_pipeline[cloud]`"
            ) from error

    def matches(self, pattern: str) -> list[str]:
        if not any(character in pattern for character in "*?["):
            return [pattern]
        path = f"{self._root}/{pattern}"
        found: Any = _retried(f"{self._url}/{pattern}", lambda: self._files.glob(path, detail=True))
        names = (n[len(self._root) + 1 :] for n, i in found.items() if i["type"] == "file")
        return [unquote(name) if self._is_http else name for name in names]

    def address(self, name: str) -> str:
        return f"{self._url}/{name}"

    def stamp(self, name: str) -> str:
        info = self._info(name)
        seen = {field: str(info[field]) for field in _VALIDATORS if info.get(field)}
        size = info.get("size")
        if not seen and size is not None:
            file = self.open(name)
            ends = (0, max(0, size - _STAMP_BYTES))
            seen["ends"] = digest_of_bytes(*(file.read(start, _STAMP_BYTES) for start in ends))
        return digest_of_value({"url": self.address(name), "size": size, **seen})

    def open(self, name: str) -> "RemoteFile":
        return RemoteFile(self._files, self._path(name), self.address(name))

    def read(self, name: str) -> bytes:
        path = self._path(name)
        return bytes(_retried(self.address(name), lambda: self._files.cat_file(path)))

    def read_end(self, name: str, num_bytes: int) -> bytes:
        size = self._info(name).get("size")
        if size is None:
            return self.read(name)[-num_bytes:]
        return self.open(name).read(max(0, size - num_bytes), min(num_bytes, size))

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="vl_pipeline_") as folder:
            path = Path(folder) / "copy"
            size = self._info(name).get("size")
            with open(path, "wb") as target:
                if size is None:
                    target.write(self.read(name))
                else:
                    file = self.open(name)
                    for start in range(0, size, _COPY_BYTES):
                        target.write(file.read(start, min(_COPY_BYTES, size - start)))
                    if target.tell() != size:
                        raise ShardError(
                            f"{self.address(name)}: {target.tell()} of {size} bytes came; the file "
                            f"changed while it was read, start again"
                        )
            yield path

    def has(self, name: str) -> bool:
        try:
            self._info(name)
        except FileNotFoundError:
            return False
        return True

    def _info(self, name: str) -> dict[str, Any]:
        path = self._path(name)
        return _retried(self.address(name), lambda: self._files.info(path))

    def _path(self, name: str) -> str:
        return f"{self._root}/{quote(name) if self._is_http else name}"


class RemoteFile:
    """A remote file, read by range."""

    def __init__(self, files: Any, path: str, address: str) -> None:
        self._files, self._path, self._address = files, path, address

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Read a range, again where the connection breaks.

        Raises:
            FileNotFoundError: If there is no such file.
            ShardError: If the last try fails too.
        """
        if num_bytes == 0:
            return b""
        end = offset + num_bytes
        data = _retried(
            f"{self._address}, bytes {offset} to {end}",
            lambda: self._files.cat_file(self._path, start=offset, end=end),
        )
        # A server that does not know ranges sends all of the file.
        return bytes(data if len(data) <= num_bytes else data[offset:end])

    def stamp(self) -> str | None:
        """Say nothing: asking the server would cost as much as reading."""
        return None


def _http_options() -> dict[str, Any]:
    """Bytes as they lie on the server, and no wait without end."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    return {
        "headers": {"Accept-Encoding": "identity"},
        "client_kwargs": {"timeout": timeout, "auto_decompress": False},
    }


def _retried(what: str, read: Callable[[], Read]) -> Read:
    for number in range(1, NUM_TRIES + 1):
        try:
            return read()
        # Each file system raises its own kinds of error for a connection that broke.
        except Exception as error:
            status = _status(error)
            if isinstance(error, FileNotFoundError) and (
                error.__cause__ is None or status in _ABSENT
            ):
                raise
            said = f"{type(error).__name__}: {error.__cause__ or error}"
            if _is_final(error, status) or number == NUM_TRIES:
                raise ShardError(
                    f"{what}: cannot be read, after {number} of {NUM_TRIES} tries ({said}); check "
                    f"the address, the permissions and the connection, and start again: what "
                    f"was finished is kept"
                ) from error
            wait = FIRST_WAIT_SECONDS * 2 ** (number - 1)
            logger.warning("%s: %s; another try in %.1f s", what, said, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _status(error: Exception) -> int | None:
    """HTTP's status, where the error has one."""
    for one in (error, error.__cause__):
        status = getattr(one, "status", None)
        if isinstance(status, int):
            return status
    return None


def _is_final(error: Exception, status: int | None) -> bool:
    refused = status is not None and 400 <= status < 500 and status not in _MAY_PASS
    return refused or isinstance(error, PermissionError | ImportError | TypeError)
