"""An HTTP server on this machine that serves a folder by range, and fails when told to."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote


class FolderServer(ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes:
        url: Of the folder.
        requested: Method, path and range of each request.
        cuts: Reads of a path's content that are yet to break off in the middle.
        refusals: Answers of a path that are yet to be 503.
        stalls: Paths whose reads get no answer.
        status_of_absent: What is answered of a file that is not there.
        knows_ranges: If not, all of a file is sent whatever was asked for.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}/pool"
        self.requested: list[tuple[str, str, str | None]] = []
        self.cuts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.stalls: set[str] = set()
        self.knows_ranges = True
        self.status_of_absent = 404


class _Handler(BaseHTTPRequestHandler):
    server: FolderServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        name = unquote(self.path).removeprefix("/pool").strip("/")
        span = self.headers.get("Range") if self.server.knows_ranges else None
        self.server.requested.append((self.command, name, span))
        path = self.server.folder / name
        while name in self.server.stalls:
            time.sleep(0.05)
        if self.server.refusals[name] > 0:
            self.server.refusals[name] -= 1
            self._send(503, b"", with_body=with_body)
        elif path.is_dir():
            links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in path.iterdir())
            self._send(200, links.encode(), with_body=with_body)
        elif not path.is_file():
            self._send(self.server.status_of_absent, b"", with_body=with_body)
        else:
            self._send_part(path.read_bytes(), span, name, with_body=with_body)

    def _send_part(self, data: bytes, span: str | None, name: str, *, with_body: bool) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
        if match:
            data = data[int(match[1]) : int(match[2]) + 1 if match[2] else None]
        cut = with_body and self.server.cuts[name] > 0
        if cut:
            self.server.cuts[name] -= 1
        self._send(206 if match else 200, data, with_body=with_body, cut=cut)

    def _send(self, status: int, data: bytes, *, with_body: bool, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder while the block lasts."""
    server = FolderServer(folder)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
