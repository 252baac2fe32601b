"""One open connection to Redis for many short commands: bytes out, replies in, in order.

redis-py opens the connection (address, encryption, password, database) and closes it. In between, commands
and replies pass it by: its tasks, locks and timers around each of them take several times as long as the
sending and the reading.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import hiredis
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError, InvalidResponse, ResponseError, TimeoutError  # noqa: A004

_NOTHING = object()


@dataclass(slots=True)
class Call:
    """A packed command and where its reply goes."""

    packed: bytes
    reply: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Wire(asyncio.Protocol):
    """Belongs to one event loop; made of a connection that is open and that nobody else uses.

    `answered` is called when all replies are in, `lost` with the reason when the connection ended: by the
    server, by a reply that cannot be read, or because nothing came for `timeout_s` although a reply was due.
    The calls without a reply are then the caller's business.
    """

    def __init__(
        self,
        connection: Any,
        *,
        answered: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s: float = connection.socket_timeout
        self._answered, self._lost = answered, lost
        self._awaited: deque[Call] = deque()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING
        )
        self._timer: asyncio.TimerHandle | None = None
        self._reason: Exception | None = None
        self._closed = False
        self._moved_at = self._loop.time()
        self._transport: asyncio.Transport = connection._writer.transport
        self._opener = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def usable(self, *, idle_s: float) -> bool:
        """Whether the connection is open, and was not idle for so long that it may have gone silently."""
        return not self._closed and self._loop.time() - self._moved_at < idle_s

    def send(self, calls: Sequence[Call]) -> None:
        self._moved_at = self._loop.time()
        self._awaited.extend(calls)
        self._transport.write(b"".join(call.packed for call in calls))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_clock)

    def end(self, reason: Exception) -> None:
        """Close at once; `lost` is called with the reason, unless it was before."""
        if not self._closed:
            self._closed = True
            self._reason = reason
            self._transport.abort()
            self._lost(reason)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._moved_at = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._settle(reply)
        except (ConnectionError, InvalidResponse, IndexError) as error:
            self.end(error if isinstance(error, ConnectionError) else ConnectionError(str(error)))
            return
        if not self._awaited:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._opener.connection_lost(exc)  # redis-py waits for it when it closes
        self.end(ConnectionError(f"Connection closed by server: {exc or 'end of stream'}"))

    def _settle(self, reply: Any) -> None:
        """
        Raises:
            ConnectionError: the server says that it cannot serve this connection (loading, not authorized).
            IndexError: a reply to nothing.
        """
        if isinstance(reply, ConnectionError):
            raise reply
        call = self._awaited.popleft()
        if call.reply.done():
            return  # its caller left
        if isinstance(reply, ResponseError):
            call.reply.set_exception(reply)
        else:
            call.reply.set_result(reply)

    def _look_at_clock(self) -> None:
        self._timer = None
        if not self._awaited or self._closed:
            return
        left_s = self._moved_at + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.end(TimeoutError("Timeout reading from socket"))
        else:
            self._timer = self._loop.call_later(left_s, self._look_at_clock)
