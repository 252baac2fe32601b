"""Limits of calls to third parties: time, size, redirects. The service is real, the limits are shortened."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from jobs.errors import Unavailable, UpstreamBadAnswer
from tests.fakes.http_service import HttpService, Received, Reply
from workers.integrations import calls as limits
from workers.integrations.calls import Answer, Calls, calls


class Echo(HttpService):
    def reply_to(self, request: Received) -> Reply:
        return Reply(200, {"path": request.path})


@pytest.fixture
def service() -> Iterator[Echo]:
    with Echo().serving() as opened:
        yield opened


@pytest.fixture
def drip() -> Iterator[str]:
    """A server whose headers never end: a byte now and then, so that no single read takes long."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            try:
                for _ in range(200):
                    self.request.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def run(work: Callable[[Calls], Awaitable[Answer]]) -> Answer:
    async def inner() -> Answer:
        async with calls() as made:
            return await work(made)

    return asyncio.run(inner())


def test_an_answer_is_read(service: Echo) -> None:
    answer = run(lambda made: made.read(f"{service.url}/x", basic=("u", "p")))

    assert (answer.status, answer.json()) == (200, {"path": "/x"})
    assert service.received[0].headers["authorization"] == "Basic dTpw"


def test_a_slow_answer_ends_with_the_time(service: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_S", 0.2)
    service.play(*[Reply(200, {}, delay_s=1)] * 3)

    with pytest.raises(Unavailable):
        run(lambda made: made.read(service.url))

    assert len(service.received) == 3


def test_an_answer_that_trickles_in_ends_with_the_whole_time(
    drip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOTAL_S", 0.5)

    with pytest.raises(Unavailable) as raised:
        run(lambda made: made.read(drip))

    assert (raised.value.code, raised.value.retry_after_s) == ("upstream_unavailable", limits.TRY_AGAIN_S)


def test_no_attempt_begins_that_has_no_time_left(service: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOTAL_S", 5)
    service.play(Reply(429, {}, {"Retry-After": "6"}))

    with pytest.raises(Unavailable) as raised:
        run(lambda made: made.read(service.url))

    assert raised.value.retry_after_s == 6
    assert len(service.received) == 1


def test_a_large_answer_is_not_read_to_its_end(service: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 1000)
    service.play(Reply(200, b"x" * 1001))

    with pytest.raises(UpstreamBadAnswer):
        run(lambda made: made.read(service.url))


def test_redirects_are_not_followed(service: Echo) -> None:
    service.play(Reply(307, {}, {"Location": f"{service.url}/elsewhere"}))

    answer = run(lambda made: made.read(service.url, basic=("u", "p")))

    assert answer.status == 307
    assert len(service.received) == 1


def test_what_is_sent_is_sent_once(service: Echo) -> None:
    service.play(Reply(503, {}))

    with pytest.raises(Unavailable):
        run(lambda made: made.send("POST", service.url, form={"code": "c"}))

    assert [call.form for call in service.received] == [{"code": "c"}]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
def test_no_connection_is_unavailable(url: str) -> None:
    with pytest.raises(Unavailable):
        run(lambda made: made.read(url))


def test_a_secret_that_no_header_can_hold_is_not_told(service: Echo) -> None:
    headers = {"Authorization": "Bearer canary\r\nX: y"}

    with pytest.raises((Unavailable, UpstreamBadAnswer)) as raised:
        run(lambda made: made.send("POST", service.url, headers=headers))

    assert raised.value.__cause__ is None
    assert "canary" not in str(raised.value)
    assert service.received == []
