"""HTTP servers on this machine that serve a folder by range, and fail when told to."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit


class FolderServer(ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes:
        root: URL of the server.
        url: Of the folder.
        requested: Method, path and range of each request.
        cuts: Reads of a path's content that are yet to break off in the middle.
        refusals: Answers of a path that are yet to be 503.
        stalls: Paths whose reads get no answer.
        behind: Address of the server that requests are passed on to, if it is none itself.
        status_of_absent: What is answered of a file that is not there.
        knows_ranges: If not, all of a file is sent whatever was asked for.
    """

    daemon_threads = True

    def __init__(
        self, folder: Path, handler: type["_Handler"], *, behind: str | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.folder = folder
        self.behind = behind
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.root}/pool"
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
        cut = self._is_cut(name, with_body=with_body)
        self._send(206 if match else 200, data, with_body=with_body, cut=cut)

    def _is_cut(self, name: str, *, with_body: bool) -> bool:
        cut = with_body and self.server.cuts[name] > 0
        if cut:
            self.server.cuts[name] -= 1
        return cut

    def _send(
        self,
        status: int,
        data: bytes,
        *,
        with_body: bool,
        cut: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:
        pass


class _StorageHandler(_Handler):
    """Speaks what reading takes of Google Cloud Storage's JSON API; the folder is the bucket."""

    def _answer(self, *, with_body: bool) -> None:
        place = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(place.query).items()}
        name = unquote(place.path.partition("/o/")[2])
        path = self.server.folder / name
        if place.path.endswith("/o"):
            self._send_json(self._listing(asked.get("prefix", "")), with_body=with_body)
        elif asked.get("alt") == "media":
            self.path = f"/pool/{name}"
            super()._answer(with_body=with_body)
        elif name and path.is_file():
            self._send_json(self._entry(path), with_body=with_body)
        else:
            self._send(self.server.status_of_absent, b"", with_body=with_body)

    def _listing(self, prefix: str) -> dict[str, object]:
        files = sorted(path for path in self.server.folder.rglob("*") if path.is_file())
        entries = [self._entry(path) for path in files]
        return {"items": [entry for entry in entries if entry["name"].startswith(prefix)]}

    def _entry(self, path: Path) -> dict[str, str]:
        status = path.stat()
        return {
            "name": path.relative_to(self.server.folder).as_posix(),
            "size": str(status.st_size),
            "etag": str(status.st_mtime_ns),
        }

    def _send_json(self, value: dict[str, object] | dict[str, str], *, with_body: bool) -> None:
        self._send(200, json.dumps(value).encode(), with_body=with_body)


class _ProxyHandler(_Handler):
    """Passes requests on to the server in front of which it stands, and cuts answers off."""

    def _answer(self, *, with_body: bool) -> None:
        assert self.server.behind is not None
        name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        self.server.requested.append((self.command, name, self.headers.get("Range")))
        behind = HTTPConnection(self.server.behind)
        behind.request(self.command, self.path, headers=dict(self.headers.items()))
        answer = behind.getresponse()
        data = answer.read()
        passed = {n: v for n, v in answer.getheaders() if n.lower() not in _OF_CONNECTIONS}
        cut = self._is_cut(name, with_body=with_body)
        self._send(answer.status, data, with_body=with_body, cut=cut, headers=passed)
        behind.close()


_OF_CONNECTIONS = ("connection", "date", "server", "transfer-encoding")


@contextmanager
def standing_before(address: str) -> Iterator[FolderServer]:
    """Pass requests on to another server, at `host:port`, while the block lasts."""
    with _running(FolderServer(Path(), _ProxyHandler, behind=address)) as server:
        yield server


@contextmanager
def serving_bucket(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder as a bucket of Google Cloud Storage while the block lasts."""
    with _running(FolderServer(folder, _StorageHandler)) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder while the block lasts."""
    with _running(FolderServer(folder, _Handler)) as server:
        yield server


@contextmanager
def _running(server: FolderServer) -> Iterator[FolderServer]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
