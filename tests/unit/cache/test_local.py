"""What needs no server: single flight in the process, journals and texts over a stand-in for Redis."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from cache.connection import FaultCounter, StoreGate
from cache.journal import MemoryJournal, StoredJournals
from cache.single_flight import LocalFlights
from cache.texts import BlockingTextCache, TextCache


def gate() -> StoreGate:
    return StoreGate(limit_s=1, faults=FaultCounter(skip_s=1))


def test_identical_computations_run_once() -> None:
    calls = []

    async def compute() -> str:
        calls.append(1)
        await asyncio.sleep(0)
        return "result"

    async def run() -> list[tuple[str, bool]]:
        flights: LocalFlights[str] = LocalFlights()
        return await asyncio.gather(*(flights.run("name", compute) for _ in range(10)))

    results = asyncio.run(run())

    assert len(calls) == 1
    assert sorted(results) == [("result", False)] * 9 + [("result", True)]


def test_error_reaches_all_and_the_next_computes_anew() -> None:
    calls = []

    async def fail() -> str:
        calls.append(1)
        await asyncio.sleep(0)
        raise KeyError("k")

    async def run() -> list[object]:
        flights: LocalFlights[str] = LocalFlights()
        first = await asyncio.gather(*(flights.run("name", fail) for _ in range(3)), return_exceptions=True)
        with pytest.raises(KeyError):
            await flights.run("name", fail)
        return list(first)

    results = asyncio.run(run())

    assert [type(result) for result in results] == [KeyError] * 3
    assert len(calls) == 2


def test_canceled_computation_is_taken_over_once() -> None:
    calls = []

    async def compute() -> int:
        calls.append(1)
        await asyncio.sleep(0 if len(calls) > 1 else 60)
        return len(calls)

    async def run() -> list[tuple[int, bool]]:
        flights: LocalFlights[int] = LocalFlights()
        tasks = [asyncio.create_task(flights.run("name", compute)) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks[1:])

    results = asyncio.run(run())

    assert len(calls) == 2
    assert sorted(results) == [(2, False), (2, False), (2, True)]


def test_journal_without_a_store_is_empty_and_silent() -> None:
    async def run() -> bytes | None:
        server = fakeredis.FakeServer()
        server.connected = False
        async with fakeredis.FakeAsyncRedis(server=server) as client:
            journal = StoredJournals(client, gate=gate()).open("j")
            await journal.write(1, b"x")
            return await journal.read(1)

    assert asyncio.run(run()) is None


def test_journal_in_memory_lasts_as_long_as_it_is_held() -> None:
    async def run() -> list[bytes | None]:
        journal = MemoryJournal()
        await journal.write(1, b"x")
        return [await journal.read(1), await journal.read(2)]

    assert asyncio.run(run()) == [b"x", None]


def test_texts_pass_between_both_kinds_of_cache() -> None:
    server, body = fakeredis.FakeServer(), "L1: é\n".encode() * 1000

    async def put() -> None:
        async with fakeredis.FakeAsyncRedis(server=server) as client:
            await TextCache(client, gate=gate()).put("k", body)

    asyncio.run(put())
    with fakeredis.FakeRedis(server=server) as client:
        cache = BlockingTextCache(client, faults=FaultCounter(skip_s=1))
        found, missing, stored = cache.get("k"), cache.get("x"), client.get("k")

    assert (found, missing) == (body, None)
    assert stored is not None
    assert len(stored) < len(body) / 10


def test_text_that_cannot_be_read_is_a_miss() -> None:
    with fakeredis.FakeRedis() as client:
        client.set("k", b"\x01broken")

        found = BlockingTextCache(client, faults=FaultCounter(skip_s=1)).get("k")

    assert found is None


def test_text_that_stays_large_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.texts.MAX_STORED_BYTES", 10)
    with fakeredis.FakeRedis() as client:
        BlockingTextCache(client, faults=FaultCounter(skip_s=1)).put("k", b"x" * 100)

        assert client.exists("k") == 0
