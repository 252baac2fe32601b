"""Sliding windows on a real store: what passes, what is told, what is kept."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from api_shim.auth import Caller
from api_shim.throttling import Bucket, Throttles
from cache.connection import FaultCounter, StoreGate, cache_client
from cache.throttles import STORE_FAILURES, SlidingWindows
from config.rates import Rate
from jobs.errors import Throttled
from tests.integration.cache.support import Server

pytestmark = pytest.mark.anyio

MINUTE = Rate(5, 60)
HOUR = Rate(8, 3600)


def _windows(client: Redis, limit_s: float = 10) -> SlidingWindows:
    return SlidingWindows(client, gate=StoreGate(limit_s=limit_s, faults=FaultCounter(skip_s=60)))


@pytest.fixture
async def client(throttle_server: Server) -> AsyncIterator[Redis]:
    client = cache_client(throttle_server.url, timeout_s=1)
    yield client
    await client.aclose()


@pytest.fixture
def windows(client: Redis) -> SlidingWindows:
    return _windows(client)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


async def _taken(windows: SlidingWindows, name: str, *rates: Rate, times: int = 1) -> list[float]:
    verdicts = [await windows.take(name, rates) for _ in range(times)]
    return [verdict.wait_s for verdict in verdicts if verdict]


async def _grow_older(client: Redis, name: str, seconds: float) -> None:
    """As if all requests had come so much earlier."""
    key = f"tg:throttle:{name}"
    times = await client.lrange(key, 0, -1)
    await client.delete(key)
    await client.rpush(key, *(str(int(moment) - int(seconds * 1000)) for moment in times))


async def test_as_many_pass_as_the_rate_says(windows: SlidingWindows, name: str) -> None:
    waits = await _taken(windows, name, MINUTE, times=7)

    assert waits[:5] == [0] * 5
    assert all(55 < wait <= 60 for wait in waits[5:])


async def test_refused_requests_do_not_count(windows: SlidingWindows, client: Redis, name: str) -> None:
    await _taken(windows, name, MINUTE, times=50)
    await _grow_older(client, name, 60)

    assert await _taken(windows, name, MINUTE, times=5) == [0] * 5


async def test_window_slides_with_each_request(windows: SlidingWindows, client: Redis, name: str) -> None:
    await _taken(windows, name, MINUTE, times=3)
    await _grow_older(client, name, 40)
    await _taken(windows, name, MINUTE, times=2)

    refused = await _taken(windows, name, MINUTE)
    await _grow_older(client, name, 20)
    later = await _taken(windows, name, MINUTE, times=4)

    assert 15 < refused[0] <= 20  # until the oldest of the five is a minute old
    assert later[:3] == [0] * 3
    assert later[3] > 0


async def test_wait_is_until_every_window_has_room(windows: SlidingWindows, client: Redis, name: str) -> None:
    await _taken(windows, name, MINUTE, HOUR, times=5)
    short = await _taken(windows, name, MINUTE, HOUR)
    await _grow_older(client, name, 60)
    await _taken(windows, name, MINUTE, HOUR, times=3)
    long = await _taken(windows, name, MINUTE, HOUR)

    assert short[0] <= 60
    assert 3500 < long[0] <= 3540


async def test_what_is_left_is_told_for_each_window(
    windows: SlidingWindows, client: Redis, name: str
) -> None:
    await _taken(windows, name, MINUTE, HOUR, times=2)
    await _grow_older(client, name, 100)
    verdict = await windows.take(name, [MINUTE, HOUR])

    assert verdict is not None
    assert [(room.rate, room.left) for room in verdict.rooms] == [(MINUTE, 4), (HOUR, 5)]
    assert 55 < verdict.rooms[0].reset_s <= 60
    assert 3490 < verdict.rooms[1].reset_s <= 3500


async def test_many_at_once_do_not_slip_through(windows: SlidingWindows, name: str) -> None:
    verdicts = await asyncio.gather(*(windows.take(name, [MINUTE]) for _ in range(40)))

    assert sum(verdict is not None and verdict.wait_s == 0 for verdict in verdicts) == 5


async def test_log_is_bounded_and_goes_by_itself(windows: SlidingWindows, client: Redis, name: str) -> None:
    for _ in range(4):
        await _taken(windows, name, MINUTE, HOUR, times=8)
        await _grow_older(client, name, 3600)
        await _taken(windows, name, MINUTE, HOUR)

    assert await client.llen(f"tg:throttle:{name}") <= HOUR.limit
    assert 3590 < await client.ttl(f"tg:throttle:{name}") <= 3600


async def test_store_that_is_away_lets_requests_pass_and_is_counted(client: Redis) -> None:
    away = cache_client("unix:///nowhere/at/all", timeout_s=0.1)
    before = STORE_FAILURES._value.get()

    verdicts = [await _windows(away, 0.1).take("x", [MINUTE]) for _ in range(3)]
    await away.aclose()

    assert verdicts == [None] * 3
    assert STORE_FAILURES._value.get() == before + 3


async def test_store_that_hangs_lets_requests_pass(throttle_server: Server) -> None:
    client = cache_client(throttle_server.url, timeout_s=0.1)
    windows = _windows(client, 0.1)
    throttle_server.freeze()
    try:
        verdict = await windows.take("frozen", [MINUTE])
    finally:
        throttle_server.thaw()
        await client.aclose()

    assert verdict is None


# buckets ----------------------------------------------------------------------------------------------


def _caller(key_id: int, user_id: int) -> Caller:
    return Caller(key_id, user_id, frozenset({"*"}), frozenset())


async def test_buckets_and_keys_are_counted_apart(windows: SlidingWindows) -> None:
    throttles = Throttles(windows, {bucket: (Rate(1, 60),) for bucket in Bucket})
    mine, other = _caller(101, 1001), _caller(102, 1001)

    await throttles.admit(mine, Bucket.DEFAULT)
    await throttles.admit(mine, Bucket.LOGS)
    await throttles.admit(other, Bucket.DEFAULT)

    with pytest.raises(Throttled):
        await throttles.admit(mine, Bucket.DEFAULT)


async def test_questions_are_counted_by_user(windows: SlidingWindows) -> None:
    throttles = Throttles(windows, {Bucket.INSIGHT: (Rate(1, 60),)})

    await throttles.admit(_caller(201, 2001), Bucket.INSIGHT)

    with pytest.raises(Throttled):
        await throttles.admit(_caller(202, 2001), Bucket.INSIGHT)
    await throttles.admit(_caller(203, 2002), Bucket.INSIGHT)


async def test_headers_are_those_of_the_draft(windows: SlidingWindows) -> None:
    throttles = Throttles(windows, {Bucket.DEFAULT: (Rate(2, 60), Rate(3, 3600))})

    headers = await throttles.admit(_caller(301, 3001), Bucket.DEFAULT)

    assert headers == {
        "RateLimit-Policy": '"burst";q=2;w=60, "sustained";q=3;w=3600',
        "RateLimit": '"burst";r=1;t=60, "sustained";r=2;t=3600',
    }


async def test_refusal_says_when_to_come_again(windows: SlidingWindows) -> None:
    throttles = Throttles(windows, {Bucket.DEFAULT: (Rate(1, 60),)})
    caller = _caller(401, 4001)
    await throttles.admit(caller, Bucket.DEFAULT)

    with pytest.raises(Throttled) as refused:
        await throttles.admit(caller, Bucket.DEFAULT)

    assert refused.value.retry_after_s is not None
    assert 55 < refused.value.retry_after_s <= 60
    assert refused.value.headers["RateLimit"].startswith('"burst";r=0;t=')


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("203.0.113.5", "203.0.113.6", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:2:2::1", "2001:db8:2:3::1", False),
        ("no address", "", True),
    ],
)
async def test_refused_keys_are_counted_by_address(
    windows: SlidingWindows, first: str, second: str, together: bool
) -> None:
    throttles = Throttles(windows, {"auth_failures": (Rate(1, 60),)})
    await throttles.admit_refused_key(first)

    if together:
        with pytest.raises(Throttled):
            await throttles.admit_refused_key(second)
    else:
        await throttles.admit_refused_key(second)
