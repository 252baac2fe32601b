from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import pytest
import redis
import redis.asyncio

from cache import connection
from cache.connection import FaultCounter, OperationLimit, StoreGate, StoreUnavailable

T = TypeVar("T")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _within(operation: Awaitable[T], limit_s: float) -> T:
    return await OperationLimit(limit_s).run(operation)


def test_three_failures_in_a_row_make_a_pause() -> None:
    clock = Clock()
    faults = FaultCounter(skip_s=5, clock=clock)
    faults.failed()
    faults.failed()
    faults.succeeded()
    faults.failed()
    faults.failed()
    before = faults.closed
    faults.failed()
    after = faults.closed
    clock.now = 5

    assert (before, after, faults.closed) == (False, True, False)


def test_first_failure_after_a_pause_pauses_again() -> None:
    clock = Clock()
    faults = FaultCounter(skip_s=5, limit=1, clock=clock)
    faults.failed()
    clock.now = 6
    faults.failed()

    assert faults.closed


def test_operation_that_takes_too_long_is_canceled() -> None:
    canceled = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.append(1)
            raise

    with pytest.raises(TimeoutError):
        asyncio.run(_within(slow(), 0.01))

    assert canceled == [1]


def test_stalled_loop_does_not_use_up_the_limit() -> None:
    async def answer() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
            time.sleep(0.1)  # noqa: ASYNC251 - a stalled loop is what is tested
        await asyncio.sleep(0.01)
        return "answer"

    assert asyncio.run(_within(answer(), 0.1)) == "answer"


def test_result_and_error_pass_through() -> None:
    async def fail() -> None:
        raise KeyError("k")

    async def give() -> int:
        return 1

    assert asyncio.run(_within(give(), 1)) == 1
    with pytest.raises(KeyError):
        asyncio.run(_within(fail(), 1))


@pytest.mark.parametrize(
    "fault", [redis.ConnectionError(), redis.ResponseError("x"), OSError(), TimeoutError()]
)
def test_faults_of_the_store_become_one_error_and_then_a_pause(fault: Exception) -> None:
    attempts = []

    async def fail() -> None:
        attempts.append(1)
        raise fault

    async def try_often() -> None:
        gate = StoreGate(limit_s=1, faults=FaultCounter(skip_s=60))
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                await gate.run(fail)
        with pytest.raises(StoreUnavailable):
            await gate.run(fail, always=True)

    asyncio.run(try_often())

    assert len(attempts) == 4


def test_other_errors_are_not_faults() -> None:
    async def fail() -> None:
        raise ValueError

    async def try_it() -> bool:
        faults = FaultCounter(skip_s=60, limit=1)
        with pytest.raises(ValueError):
            await StoreGate(limit_s=1, faults=faults).run(fail)
        return faults.closed

    assert asyncio.run(try_it()) is False


def test_gate_bounds_what_is_in_flight() -> None:
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async def burst() -> None:
        gate = StoreGate(limit_s=1, faults=FaultCounter(skip_s=60), width=3)
        await asyncio.gather(*(gate.run(work) for _ in range(20)))

    asyncio.run(burst())

    assert most == 3


@pytest.mark.parametrize("url", ["redis://host:1/2", "unix:///run/s.sock", "rediss://u:p@host/0"])
def test_clients_have_limits_and_wait_for_their_pool(url: str) -> None:
    cache = connection.cache_client(url, timeout_s=0.1)
    coordination = connection.coordination_client(url)
    blocking = connection.blocking_cache_client(url, timeout_s=0.1)
    blocking_coordination = connection.blocking_coordination_client(url)

    assert isinstance(cache.connection_pool, redis.asyncio.BlockingConnectionPool)
    assert isinstance(coordination.connection_pool, redis.asyncio.BlockingConnectionPool)
    assert isinstance(blocking.connection_pool, redis.BlockingConnectionPool)
    assert coordination.connection_pool.max_connections >= 256
    limits = [
        client.connection_pool.connection_kwargs["socket_timeout"]
        for client in (cache, coordination, blocking, blocking_coordination)
    ]
    assert limits == [1.0, 3.0, 0.1, 3.0]
