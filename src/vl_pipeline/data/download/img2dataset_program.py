"""img2dataset with bounds on what a server may send. Run as a program, never imported.

img2dataset reads an answer to its end however long that is and lasts, and opens whatever urllib
opens, local files and the machine's own network among it. Here an answer has a largest size and a
longest time, a URL must be of http or https, and a host must have public addresses, also the one
that an answer redirects to. The interpreter that runs this has img2dataset but not this package, so
nothing of this package is imported. Worker processes import the file again, as multiprocessing's
spawn does with a main module, and so have the bounds too.

    python img2dataset_program.py '{"bounds": {...}, "arguments": {...}}'

It ends, workers included, as soon as its standard input does: with the process that started it.
"""

import ipaddress
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from http.client import HTTPResponse, IncompleteRead
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = json.loads(sys.argv[1])
MAX_BYTES: int = SETTINGS["bounds"]["max_bytes"]
MAX_SECONDS: float = SETTINGS["bounds"]["max_seconds"]
ALLOW_PRIVATE_ADDRESSES: bool = SETTINGS["bounds"]["allow_private_addresses"]
_PART_BYTES = 65536


class BoundedAnswer:
    """An HTTP response that is read whole within the bounds, or raises OSError."""

    def __init__(self, response: HTTPResponse, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self.headers = response.headers

    def __enter__(self) -> "BoundedAnswer":
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self) -> bytes:
        """Read to the end, a received part at a time."""
        data = bytearray()
        while part := self._response.read1(_PART_BYTES):
            data += part
            if len(data) > MAX_BYTES:
                raise OSError(f"answer is longer than {MAX_BYTES} bytes")
            if time.monotonic() > self._deadline:
                raise OSError(f"answer takes longer than {MAX_SECONDS} seconds")
        if self._response.length:  # read1 does not say that a connection ended early
            raise IncompleteRead(bytes(data), self._response.length)
        return bytes(data)


def open_bounded(request: urllib.request.Request, *, timeout: float) -> BoundedAnswer:
    """Open a URL as `urllib.request.urlopen` does, within the bounds."""
    if request.type not in ("http", "https"):
        raise OSError(f"scheme '{request.type}' is neither http nor https")
    deadline = time.monotonic() + MAX_SECONDS
    return BoundedAnswer(_open(request, timeout=timeout), deadline)


def connect_publicly(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
    """Connect as `socket.create_connection` does, to hosts all of whose addresses are public.

    The connection is made to the address that was looked at, so a name that means another one a
    moment later is of no use.
    """
    host, port = address
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [str(info[4][0]) for info in infos]
    for one in found:
        if not ipaddress.ip_address(one.partition("%")[0]).is_global:
            raise OSError(f"private address {one}: see download.requests.allow_private_addresses")
    for number, one in enumerate(found, start=1):
        try:
            return _connect((one, port), *args, **kwargs)
        except OSError:
            if number == len(found):
                raise
    raise OSError(f"{host} has no address")


def end_with_standard_input() -> None:
    """Wait for the end of standard input, then kill this process and its workers."""
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


_open = urllib.request.urlopen
urllib.request.urlopen = open_bounded  # pyright: ignore[reportAttributeAccessIssue]
_connect = socket.create_connection
if not ALLOW_PRIVATE_ADDRESSES:
    socket.create_connection = connect_publicly

if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    import img2dataset  # pyright: ignore[reportMissingImports]

    img2dataset.download(**SETTINGS["arguments"])
