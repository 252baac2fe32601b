"""A Redis client that sends commands together which are issued together: one write, one read for all of them.

On a busy event loop a command by itself costs several times what it costs in company, here and in the server,
most of it in system calls. What was issued while a batch was under way makes the next batch, so nobody waits
for company. What blocks or is large goes alone, on a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hiredis
import redis.asyncio
from redis.exceptions import ResponseError

LARGE_BYTES = 65_536
# These keep a connection busy, change its state, or have replies of a special kind.
ALONE = frozenset(
    """
    AUTH BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT DISCARD DUMP EXEC HELLO HIMPORT
    MONITOR MULTI PSUBSCRIBE PUNSUBSCRIBE QUIT RESET SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE
    UNWATCH WAIT WAITAOF WATCH XREAD XREADGROUP
    """.split()  # noqa: SIM905 - one word a line is longer than the rest of the module
)


@dataclass(slots=True)
class _Call:
    args: Sequence[Any]
    reply: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BatchingRedis(redis.asyncio.Redis):
    """Belongs to one event loop. Pipelines and subscriptions are those of the base class."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name = args[0]
        if name in ALONE or " " in name or _is_large(args):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        call = _Call(args)
        self._waiting.append(call)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="redis batches")
        reply = await call.reply
        options.pop("keys", None)
        read = self.response_callbacks.get(name)
        return reply if read is None else read(reply, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})
        await super().aclose(close_connection_pool)

    async def _send_all(self) -> None:
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await self._send(batch)
                except Exception as error:  # noqa: BLE001 - it is raised by those who wait for a reply
                    _refuse(batch, error)
        finally:
            self._sender = None
            for call in (*batch, *self._waiting):  # closed meanwhile
                call.reply.cancel()

    async def _send(self, batch: Sequence[_Call]) -> None:
        """Send the commands, again when the connection breaks; each call gets its own reply."""
        pool: Any = self.connection_pool  # partly without annotations
        connection = await pool.get_connection()

        async def attempt() -> None:
            calls = [call for call in batch if not call.reply.done()]
            if not calls:
                return
            await connection.send_packed_command(
                b"".join(hiredis.pack_command(tuple(call.args)) for call in calls)
            )
            for call in calls:
                await _settle(call, connection)

        try:
            await connection.retry.call_with_retry(attempt, lambda _error: connection.disconnect())
        finally:
            await pool.release(connection)


async def _settle(call: _Call, connection: Any) -> None:
    try:
        reply = await connection.read_response()
    except ResponseError as error:
        if not call.reply.done():
            call.reply.set_exception(error)
    else:
        if not call.reply.done():
            call.reply.set_result(reply)


def _refuse(batch: Sequence[_Call], error: Exception) -> None:
    for call in batch:
        if not call.reply.done():
            call.reply.set_exception(error)


def _is_large(args: Sequence[Any]) -> bool:
    return any(len(part) > LARGE_BYTES for part in args if isinstance(part, (bytes, str)))
