"""A third party for tests, over real HTTP, in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Received:
    """One request that the service got; names of headers in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `drop` closes the connection without an answer."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    drop: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


class HttpService(ABC):
    """`script` holds replies that are played first, in order; then `reply_to` decides."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Reply] = deque()
        self._lock = threading.Lock()
        self.url = ""

    @abstractmethod
    def reply_to(self, request: Received) -> Reply:
        """The answer of a service that works."""

    def play(self, *replies: Reply) -> None:
        self.script.extend(replies)

    def calls(self, method: str, path_part: str) -> list[Received]:
        return [found for found in self.received if found.method == method and path_part in found.path]

    def take(self, request: Received) -> Reply:
        with self._lock:
            self.received.append(request)
            return self.script.popleft() if self.script else self.reply_to(request)

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Answer at `url` until the end of the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler_of(service: HttpService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.command, parts.path, parse_qs(parts.query), headers, body)
            reply = service.take(received)
            time.sleep(reply.delay_s)
            self.close_connection = True
            if reply.drop:
                return
            content = reply.content()
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                return  # the caller did not wait

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names of the base class

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Tests read `received`."""

    return Handler
