"""Locks of the operating system on files beside what they protect, `.<name>.lock`.

A lock is POSIX's (`fcntl.lockf`): the operating system lets go of it when the process ends, however
it ends, and worker processes do not inherit it, so nothing stale can keep anybody out. What stands
in the file is for messages alone.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vl_pipeline.data.process import ProcessId
from vl_pipeline.errors import InUseError

_TAKEN = (errno.EACCES, errno.EAGAIN)
_MAX_BYTES = 65536  # of what is read from a lock file


class TakenError(Exception):
    """Somebody else holds a lock; the text says who."""


def take_lock(path: Path, *, exclusive: bool) -> int:
    """Lock a path, for oneself or against writers; closing the descriptor lets go of it.

    Raises:
        TakenError: If it is locked otherwise.
        OSError: If no lock file can be made.
    """
    file = path.with_name(f".{path.name}.lock")
    if exclusive:
        file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        said = _holder_of(descriptor)
        os.close(descriptor)
        if error.errno not in _TAKEN:
            raise
        raise TakenError(said) from error
    with suppress(OSError):  # a full disk: only the messages of others are poorer
        text = ProcessId.of_this().to_json().encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
    return descriptor


@contextmanager
def locked(folder: Path, *, what: str) -> Iterator[None]:
    """Keep other processes that lock a folder out of it while the block lasts.

    Raises:
        InUseError: If another process has it.
    """
    try:
        descriptor = take_lock(folder, exclusive=True)
    except TakenError as taken:
        raise InUseError(
            f"{folder} ({what}) is being filled by another process ({taken}); wait for it to end "
            f"or stop it, or name another folder; nothing was changed"
        ) from taken
    try:
        yield
    finally:
        os.close(descriptor)


def _holder_of(descriptor: int) -> str:
    text = os.pread(descriptor, _MAX_BYTES, 0).decode(errors="replace")
    holder = ProcessId.from_json(text)
    known = holder is not None and not holder.has_ended() and not holder.is_this()
    return str(holder) if known else "its details are not known"
