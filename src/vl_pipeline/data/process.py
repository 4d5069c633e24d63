"""Which process does something: for locks and for runs that are tracked."""

import json
import os
import shlex
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil

_CLOCK_SECONDS = 2.0  # two readings of one process's start may differ by rounding


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """A process, told apart from a later one that has its number.

    Attributes:
        pid: Its number.
        host: The machine.
        started: When, in seconds since 1970.
        command: What was typed.
    """

    pid: int
    host: str
    started: float
    command: str

    @classmethod
    def of_this(cls) -> "ProcessId":
        """Describe the process that asks."""
        process = psutil.Process()
        return cls(
            pid=process.pid,
            host=socket.gethostname(),
            started=process.create_time(),
            command=shlex.join(process.cmdline()),
        )

    @classmethod
    def from_json(cls, text: str) -> "ProcessId | None":
        """Read what `to_json` wrote; None for anything else."""
        try:
            read = json.loads(text)
            return cls(
                pid=int(read["pid"]),
                host=str(read["host"]),
                started=float(read["started"]),
                command=str(read["command"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def to_json(self) -> str:
        """Write it down on one line."""
        return json.dumps(asdict(self))

    def has_ended(self) -> bool:
        """Say whether it is gone for certain; of another machine's processes nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            started = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
        return abs(started - self.started) > _CLOCK_SECONDS

    def is_this(self) -> bool:
        """Say whether it is the process that asks."""
        return (self.pid, self.host) == (os.getpid(), socket.gethostname())

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host}, running since {since}: {self.command}"
