"""What is not HTTP, or nearly: over bare sockets, since clients send nothing of the kind."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.running import RunningStack

HEAD_LIMIT = 65_536


def talk(stack: RunningStack, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what is answered to the pieces; the connection is closed by the server."""
    address = urlsplit(stack.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def request_of(stack: RunningStack, method: str, path: str, *lines: str, key: str = "valid") -> bytes:
    host = urlsplit(stack.url).netloc
    head = (
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: close",
        f"Authorization: Bearer {stack.keys[key]}",
        *lines,
    )
    return "\r\n".join((*head, "", "")).encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/environments/²/jobs/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_answered_with_the_error_body(stack: RunningStack, sent: bytes) -> None:
    status, headers, body = talk(stack, sent)

    assert status == 400
    assert list(json.loads(body)) == ["type", "code", "detail", "attr"]
    assert json.loads(body)["type"] == "invalid_request"
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]


def test_head_without_end_is_cut_off(stack: RunningStack) -> None:
    begun = b"GET /_health HTTP/1.1\r\nHost: localhost\r\nX-Long: "

    status, _, body = talk(stack, begun, b"a" * (HEAD_LIMIT - 1), b"a" * 1000)

    assert status == 400
    assert json.loads(body)["code"] == "parse_error"


@pytest.mark.parametrize("method", ["FOO", "get", "TRACE", "CONNECT", "PROPFIND", "BREW!"])
def test_foreign_method_is_not_allowed(stack: RunningStack, method: str) -> None:
    folders = f"/api/environments/{stack.projects['main']}/persisted_folder/"

    status, headers, body = talk(stack, request_of(stack, method, folders))

    assert status == 405
    assert json.loads(body)["code"] == "method_not_allowed"
    assert headers["allow"] == "GET, HEAD, POST"


def test_foreign_method_at_an_unknown_address_is_not_found(stack: RunningStack) -> None:
    status, _, body = talk(stack, request_of(stack, "FOO", "/nowhere"))

    assert (status, json.loads(body)["code"]) == (404, "not_found")


def test_second_request_of_a_connection_may_have_a_foreign_method(stack: RunningStack) -> None:
    address = urlsplit(stack.url)
    first = f"GET /_health HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(first)
        answer = b""
        # Head and body may come in two pieces.
        while not answer.endswith(b'{"status":"ok"}'):
            part = connection.recv(65_536)
            assert part, answer
            answer += part
        connection.sendall(request_of(stack, "FOO", "/_health"))
        second = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 405")


def test_upgrade_is_not_followed(stack: RunningStack) -> None:
    lines = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    asked = request_of(stack, "GET", "/_health", *lines).replace(
        b"Connection: close", b"Connection: Upgrade, close"
    )

    status, _, body = talk(stack, asked)

    assert (status, json.loads(body)) == (200, {"status": "ok"})
