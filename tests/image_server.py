"""A web server on this machine whose answers are as good and as bad as those of the web."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes import distinct_picture

HUGE_BYTES = 3_000_000


class ImageServer:
    """Answers `/<number>.jpg` with a picture, and other paths as `_Handler` says.

    Attributes:
        requests: How often each path was asked for.
        recovered: Whether `/flaky/<number>.jpg` is answered.
        delay_seconds: How long each answer waits.
    """

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.requests: Counter[str] = Counter()
        self.user_agents: set[str] = set()
        self.recovered = False
        self.delay_seconds = 0.0


@contextmanager
def serve_images() -> Iterator[ImageServer]:
    """Serve until the block ends."""
    http = _Server()
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield http.images
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.images = ImageServer(self.server_port)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        images = self.server.images
        images.requests[self.path] += 1
        images.user_agents.add(self.headers["User-Agent"])
        time.sleep(images.delay_seconds)
        kind, _, name = self.path.strip("/").rpartition("/")
        picture = distinct_picture(int(name.partition(".")[0]), width=40, height=30)
        if kind == "missing" or (kind == "flaky" and not images.recovered):
            self.send_error(404 if kind == "missing" else 503)
        elif kind == "page":
            self._answer(b"<html>gone</html>")
        elif kind == "cut":
            self._answer(picture[: len(picture) // 2], length=len(picture))
        elif kind == "huge":
            with suppress(OSError):
                self._answer(picture + bytes(HUGE_BYTES))
        elif kind == "dripping":
            with suppress(OSError):  # whoever asked has had enough
                self._drip(picture)
        elif kind == "chunked":
            parts = (picture[:100], picture[100:], b"")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            self._answer(body, headers={"Transfer-Encoding": "chunked"})
        elif kind == "silent":
            time.sleep(5)
        elif kind == "disallowed":
            self._answer(picture, headers={"X-Robots-Tag": "noai"})
        else:
            self._answer(picture)

    def _answer(
        self, body: bytes, *, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(200)
        length = len(body) if length is None else length
        for name, value in (headers or {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for place in range(len(body)):
            self.wfile.write(body[place : place + 1])
            time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
