"""Redis clients for two kinds of use, and the gate that keeps a broken store from slowing every request.

A *cache client* gives up fast and never retries: what it holds can be made again. A *coordination client*
(job records, leases, limits) waits a few seconds and retries broken connections. Both kinds block when their
pool is used up, so a burst of callers queues instead of failing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.retry import Retry

from cache.batching import BatchingRedis

logger = logging.getLogger(__name__)

T = TypeVar("T")

CACHE_TIMEOUT_S = 0.1
CACHE_CONNECTIONS = 64
COORDINATION_TIMEOUT_S = 3.0
COORDINATION_CONNECTIONS = 256
COORDINATION_RETRIES = 3
# Longer than any command may take: a caller that waits so long for a connection has met a leak, not a queue.
POOL_WAIT_S = 60.0
HEALTH_CHECK_S = 30
# An event loop that is busy for a moment must not look like a slow store, so the sockets of the asynchronous
# cache client get more time than the gate, which knows the difference (`OperationLimit`), gives an operation.
STALL_ALLOWANCE = 10
SLICES = 20

STORE_FAULTS = (redis.RedisError, OSError, TimeoutError)


class StoreUnavailable(Exception):
    """The store failed, was too slow, or is being skipped after failures. Never shown to a caller."""


def cache_client(
    url: str, *, timeout_s: float = CACHE_TIMEOUT_S, max_connections: int = CACHE_CONNECTIONS
) -> redis.asyncio.Redis:
    """Client for what may be lost: no retries. The time limit of an operation is the `StoreGate`'s.

    The pool is small on purpose: commands take a fraction of a millisecond, and opening hundreds of
    connections in one burst takes longer than the time limit.
    """
    limit = timeout_s * STALL_ALLOWANCE
    return _async_client(url, timeout_s=limit, retry=AsyncRetry(NoBackoff(), 0), connections=max_connections)


def coordination_client(
    url: str, *, timeout_s: float = COORDINATION_TIMEOUT_S, max_connections: int = COORDINATION_CONNECTIONS
) -> redis.asyncio.Redis:
    """Client for job records, leases, limits and subscriptions: seconds, and retries with backoff."""
    retry = AsyncRetry(_backoff(), COORDINATION_RETRIES)
    return _async_client(url, timeout_s=timeout_s, retry=retry, connections=max_connections)


def blocking_cache_client(
    url: str, *, timeout_s: float = CACHE_TIMEOUT_S, max_connections: int = CACHE_CONNECTIONS
) -> redis.Redis:
    """`cache_client` for code without an event loop."""
    return _blocking_client(
        url, timeout_s=timeout_s, retry=Retry(NoBackoff(), 0), connections=max_connections
    )


def blocking_coordination_client(
    url: str, *, timeout_s: float = COORDINATION_TIMEOUT_S, max_connections: int = COORDINATION_CONNECTIONS
) -> redis.Redis:
    """`coordination_client` for code without an event loop."""
    retry = Retry(_backoff(), COORDINATION_RETRIES)
    return _blocking_client(url, timeout_s=timeout_s, retry=retry, connections=max_connections)


def _backoff() -> EqualJitterBackoff:
    return EqualJitterBackoff(cap=0.5, base=0.05)


# RESP2 and no driver information: a new connection then costs no round trip of its own.
def _async_client(url: str, *, timeout_s: float, retry: AsyncRetry, connections: int) -> redis.asyncio.Redis:
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=POOL_WAIT_S,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=HEALTH_CHECK_S,
        retry=retry,
        protocol=2,
        driver_info=None,
    )
    return BatchingRedis.from_pool(pool)


def _blocking_client(url: str, *, timeout_s: float, retry: Retry, connections: int) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=POOL_WAIT_S,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=HEALTH_CHECK_S,
        retry=retry,
        protocol=2,
        driver_info=None,
    )
    return redis.Redis.from_pool(pool)


Argument = str | bytes | int | float


class Script:
    """A Lua script of one client: sent by digest, loaded when the server does not have it."""

    def __init__(self, client: redis.asyncio.Redis, text: str) -> None:
        self._client: Any = client  # its annotations want every argument to be an integer
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, *arguments: Argument, keys: Sequence[str] = ()) -> Any:
        call = (len(keys), *keys, *arguments)
        try:
            return await self._client.evalsha(self._digest, *call)
        except redis.exceptions.NoScriptError:
            return await self._client.eval(self._text, *call)


class FaultCounter:
    """Counts failures in a row; after `limit` of them the store is skipped for `skip_s`."""

    def __init__(
        self,
        *,
        skip_s: float,
        limit: int = 3,
        name: str = "cache",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._skip_s = skip_s
        self._limit = limit
        self._name = name
        self._clock = clock
        self._failures = 0
        self._closed_until = float("-inf")

    @property
    def closed(self) -> bool:
        return self._clock() < self._closed_until

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """Count one failure. Past the limit every further one, as the first after a pause, pauses again."""
        self._failures += 1
        if self._failures >= self._limit:
            if not self.closed:
                logger.warning("The %s store fails; it is skipped for %g s.", self._name, self._skip_s)
            self._closed_until = self._clock() + self._skip_s


class StoreGate:
    """Runs operations on one store: a time limit for each, and a pause after failures in a row.

    One gate is shared by all users of the store in a process and event loop. `width` bounds the operations in
    flight, so that callers queue here, where a pause reaches them at once, and not inside the pool.
    """

    def __init__(self, *, limit_s: float, faults: FaultCounter, width: int = CACHE_CONNECTIONS) -> None:
        self._limit = OperationLimit(limit_s)
        self._faults = faults
        self._slots = asyncio.Semaphore(width)

    async def run(self, operation: Callable[[], Awaitable[T]], *, always: bool = False) -> T:
        """The operation's result; `always` tries even during a pause.

        Raises:
            StoreUnavailable: a fault, the time limit, or a pause.
        """
        if self._faults.closed and not always:
            raise StoreUnavailable("skipped")
        async with self._slots:
            if self._faults.closed and not always:
                raise StoreUnavailable("skipped")
            try:
                result = await self._limit.run(operation())
            except STORE_FAULTS as error:
                self._faults.failed()
                raise StoreUnavailable(type(error).__name__) from error
        self._faults.succeeded()
        return result


class OperationLimit:
    """A time limit for each operation that a stalled event loop does not use up. Belongs to one event loop.

    The limit is spent in slices, and a slice in which the loop was busy elsewhere counts once, however long
    it lasted: an answer that is already in the socket gets read before the time is over. One timer serves all
    operations in flight, so the first slice of most is a part of one, and comes on top.
    """

    def __init__(self, limit_s: float) -> None:
        self._slice_s = limit_s / SLICES
        self._slices_left: dict[asyncio.Timeout, int] = {}
        self._ticking = False

    async def run(self, operation: Awaitable[T]) -> T:
        """
        Raises:
            TimeoutError: the operation took longer; it has been canceled.
        """
        async with asyncio.timeout(None) as scope:
            self._slices_left[scope] = SLICES + 1
            if not self._ticking:
                self._ticking = True
                self._tick_later()
            try:
                return await operation
            finally:
                del self._slices_left[scope]

    def _tick_later(self) -> None:
        asyncio.get_running_loop().call_later(self._slice_s, self._tick)

    def _tick(self) -> None:
        for scope, left in self._slices_left.items():
            self._slices_left[scope] = left - 1
            if left == 1:
                scope.reschedule(asyncio.get_running_loop().time())
        self._ticking = bool(self._slices_left)
        if self._ticking:
            self._tick_later()
