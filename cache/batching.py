"""A Redis client that sends commands together which are issued together: one write, one read for all of them.

On a busy event loop a command by itself costs several times what it costs in company, here and in the server,
most of it in system calls. What was issued while a batch was under way makes the next batch, so nobody waits
for company. What blocks or is large goes alone, on a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis.asyncio
from redis.exceptions import ConnectionError  # noqa: A004

from cache.wire import Call, Wire

LARGE_BYTES = 65_536
# These keep a connection busy, change its state, or have replies of a special kind.
ALONE = frozenset(
    """
    AUTH BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT DISCARD DUMP EXEC HELLO HIMPORT
    MONITOR MULTI PSUBSCRIBE PUNSUBSCRIBE QUIT RESET SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE
    UNWATCH WAIT WAITAOF WATCH XREAD XREADGROUP
    """.split()  # noqa: SIM905 - one word a line is longer than the rest of the module
)


class BatchingRedis(redis.asyncio.Redis):
    """Belongs to one event loop. Pipelines and subscriptions are those of the base class.

    Batches travel on one connection of the pool. A task is only needed to open it, and to send again what was
    under way when it broke.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: list[Call] = []
        self._batch: list[Call] = []
        self._planned = False
        self._wire: Wire | None = None
        self._connection: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name = args[0]
        if name in ALONE or " " in name or _is_large(args):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        call = Call(hiredis.pack_command(args))
        self._waiting.append(call)
        if not self._planned and not self._batch:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._send_planned)
        reply = await call.reply
        options.pop("keys", None)
        read = self.response_callbacks.get(name)
        return reply if read is None else read(reply, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        _cancel((*self._batch, *self._waiting))
        self._batch, self._waiting = [], []
        await self._give_back()
        await super().aclose(close_connection_pool)

    # sending

    def _send_planned(self) -> None:
        self._planned = False
        self._send_next()

    def _send_next(self) -> None:
        """What waits is the next batch, unless one is under way."""
        if self._batch or not self._waiting:
            return
        self._batch, self._waiting = self._waiting, []
        pool: Any = self.connection_pool  # partly without annotations
        idle_s = pool.connection_kwargs["health_check_interval"]
        if self._wire is not None and self._wire.usable(idle_s=idle_s):
            self._wire.send(self._batch)
        else:
            self._open(None)

    def _answered(self) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)
        elif self._opening is None:
            self._batch = []
            self._send_next()

    def _lost(self, error: Exception) -> None:
        self._wire = None
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_exception(error)
        elif self._opening is None and self._batch:
            self._open(error)

    # opening

    def _open(self, error: Exception | None) -> None:
        self._opening = asyncio.create_task(self._send_anew(error), name="redis batch")

    async def _send_anew(self, error: Exception | None) -> None:
        """Send the batch on a new connection, as often as the client's retries allow.

        `error` is what its first attempt met.
        """
        failures = [] if error is None else [error]

        async def attempt() -> None:
            if failures:
                raise failures.pop()
            await self._give_back()
            await self._take_connection()
            await self._exchange()

        async def failed(_error: Exception) -> None:
            await self._give_back()

        retry: Any = self.get_retry()
        try:
            await retry.call_with_retry(attempt, failed)
        except Exception as fault:  # noqa: BLE001 - it is raised by those who wait for a reply
            _refuse(self._batch, fault)
        except asyncio.CancelledError:
            _cancel((*self._batch, *self._waiting))
            self._waiting = []
            raise
        finally:
            self._batch, self._opening = [], None
        self._send_next()

    async def _take_connection(self) -> None:
        pool: Any = self.connection_pool
        self._connection = await pool.get_connection()
        self._wire = Wire(self._connection, answered=self._answered, lost=self._lost)

    async def _exchange(self) -> None:
        """Send the calls that still wait, and wait for all replies."""
        calls = [call for call in self._batch if not call.reply.done()]
        if not calls or self._wire is None:
            return
        self._outcome = asyncio.get_running_loop().create_future()
        try:
            self._wire.send(calls)
            await self._outcome
        finally:
            self._outcome = None

    async def _give_back(self) -> None:
        """Close the connection, if there is one: it cannot be used in redis-py's way any more."""
        wire, self._wire = self._wire, None
        connection, self._connection = self._connection, None
        if wire is not None:
            wire.end(ConnectionError("Connection given back."))
        if connection is not None:
            pool: Any = self.connection_pool
            await connection.disconnect(nowait=True)
            await pool.release(connection)


def _refuse(calls: Iterable[Call], error: Exception) -> None:
    for call in calls:
        if not call.reply.done():
            call.reply.set_exception(error)


def _cancel(calls: Iterable[Call]) -> None:
    for call in calls:  # closed meanwhile
        call.reply.cancel()


def _is_large(args: Sequence[Any]) -> bool:
    for part in args:  # noqa: SIM110 - a generator takes twice as long, for every command
        if isinstance(part, (bytes, str)) and len(part) > LARGE_BYTES:
            return True
    return False
