"""Many callers at once: reads a plan from standard input, prints the statuses and the seconds it took.

Each has one kept connection, opened before the clock starts, and asks again when it has its answer. It is a
bare asyncio protocol because a benchmark must not measure its callers.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import httptools
import uvloop

CONNECTIONS = 128  # more requests than the workers take at once are waiting all the time
LONGEST_S = 120


class Caller(asyncio.Protocol):
    """Sends the requests that nobody has sent yet, one after the other; `done` has their statuses."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._parser = httptools.HttpResponseParser(self)
        self._statuses: list[int] = []
        self.done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._statuses.append(self._parser.get_status_code())
        self.ask()

    def ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(self._statuses)
        else:
            self._transport.write(request)


async def call_all(plan: dict) -> tuple[list[int], float]:
    loop, port = asyncio.get_running_loop(), plan["port"]
    requests = iter([_request(plan, json.dumps(body).encode()) for body in plan["bodies"]])
    callers = []
    for _ in range(plan.get("connections", CONNECTIONS)):
        _, caller = await loop.create_connection(lambda: Caller(requests), "127.0.0.1", port)
        callers.append(caller)
    began = time.perf_counter()
    for caller in callers:
        caller.ask()
    async with asyncio.timeout(LONGEST_S):
        statuses = await asyncio.gather(*(caller.done for caller in callers))
    return [status for part in statuses for status in part], time.perf_counter() - began


def _request(plan: dict, body: bytes) -> bytes:
    head = (
        f"POST {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1:{plan['port']}\r\n"
        f"Authorization: Bearer {plan['key']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    print(json.dumps(uvloop.run(call_all(json.load(sys.stdin)))))
