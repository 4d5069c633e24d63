"""img2dataset with bounds on what a server may send. Run as a program, never imported.

img2dataset reads an answer to its end however long that is and lasts, and opens whatever urllib
opens, local files among it. Here an answer has a largest size and a longest time, and a URL must
be of http or https. The interpreter that runs this has img2dataset but not this package, so
nothing of this package is imported. Worker processes import the file again, as multiprocessing's
spawn does with a main module, and so have the bounds too.

    python img2dataset_program.py '{"bounds": {...}, "arguments": {...}}'

It ends, workers included, as soon as its standard input does: with the process that started it.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from http.client import HTTPResponse, IncompleteRead
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = json.loads(sys.argv[1])
MAX_BYTES: int = SETTINGS["bounds"]["max_bytes"]
MAX_SECONDS: float = SETTINGS["bounds"]["max_seconds"]
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


def end_with_standard_input() -> None:
    """Wait for the end of standard input, then kill this process and its workers."""
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


_open = urllib.request.urlopen
urllib.request.urlopen = open_bounded  # pyright: ignore[reportAttributeAccessIssue]

if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    import img2dataset  # pyright: ignore[reportMissingImports]

    img2dataset.download(**SETTINGS["arguments"])
