"""Stores that are down, hang, or come back: there is always an answer, and never more calls than requests."""

from __future__ import annotations

import asyncio

import pytest

from cache import keys
from cache.connection import FaultCounter, StoreGate, blocking_cache_client, cache_client
from cache.metrics import SINGLE_FLIGHT
from cache.summaries import Hit, Outcome, SummaryCache
from cache.texts import BlockingTextCache, TextCache
from jobs.errors import Unavailable
from tests.integration.cache.support import BUDGET, KEY, MakeCache, Model, Server, ask, until

pytestmark = pytest.mark.anyio

FP = keys.content_fp("content")


def local_flights() -> float:
    return float(SINGLE_FLIGHT.labels("local")._value.get())


async def asked_locally(cache: SummaryCache, model: Model, *, count: int) -> list[asyncio.Task[Outcome]]:
    """Requests that have all given up on the stores."""
    before = local_flights()
    tasks = [asyncio.create_task(ask(cache, model)) for _ in range(count)]

    async def all_local() -> bool:
        return local_flights() >= before + count

    await until(all_local)
    return tasks


async def test_everything_down_is_one_computation_for_the_process(
    make_cache: MakeCache, spare_server: Server
) -> None:
    spare_server.stop()
    cache = make_cache(cache_url=spare_server.url, coordination_url=spare_server.url)
    model = Model(hold=asyncio.Event())
    asking = await asked_locally(cache, model, count=50)
    model.hold.set()

    outcomes = await asyncio.gather(*asking)

    assert model.calls == 1
    assert {outcome.status for outcome in outcomes} == {"unavailable"}
    assert await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET) is None
    assert await cache.batch_check(7, ["t-1"], mode="minimal", variant=KEY.variant) == []


async def test_error_reaches_all_when_everything_is_down(make_cache: MakeCache, spare_server: Server) -> None:
    spare_server.stop()
    cache = make_cache(cache_url=spare_server.url, coordination_url=spare_server.url)
    model = Model([Unavailable("Down.", code="llm_unavailable")], hold=asyncio.Event())
    asking = await asked_locally(cache, model, count=5)
    model.hold.set()

    results = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 5
    assert model.calls == 1


async def test_local_leader_that_is_canceled_is_replaced(make_cache: MakeCache, spare_server: Server) -> None:
    spare_server.stop()
    cache = make_cache(cache_url=spare_server.url, coordination_url=spare_server.url)
    stuck, model = Model(hold=asyncio.Event()), Model()
    leading = asyncio.create_task(ask(cache, stuck))
    await stuck.started.wait()
    following = asyncio.create_task(ask(cache, model))
    await asyncio.sleep(0.2)

    leading.cancel()
    outcome = await following

    assert (outcome.status, model.calls) == ("unavailable", 1)


async def test_cache_store_down_keeps_single_flight_between_processes(
    make_cache: MakeCache, spare_server: Server
) -> None:
    spare_server.stop()
    model = Model(hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(cache_url=spare_server.url), model))
    await model.started.wait()
    others = [asyncio.create_task(ask(make_cache(cache_url=spare_server.url), model)) for _ in range(5)]
    await asyncio.sleep(0.3)
    model.hold.set()

    outcomes = await asyncio.gather(leading, *others)

    assert model.calls == 1
    assert {outcome.status for outcome in outcomes} == {"unavailable"}


async def test_coordination_down_still_serves_hits(make_cache: MakeCache, spare_server: Server) -> None:
    cache, model = make_cache(coordination_url=spare_server.url), Model()
    stored = await ask(cache, model)
    spare_server.stop()

    hit = await ask(cache, model)
    other = await ask(cache, model, data="changed")

    assert (stored.status, hit.status, other.status, model.calls) == ("miss", "hit", "unavailable", 2)


async def test_store_that_stops_during_the_call_costs_no_second_call(
    make_cache: MakeCache, spare_server: Server
) -> None:
    cache = make_cache(cache_url=spare_server.url, coordination_url=spare_server.url)
    model = Model(hold=asyncio.Event())
    leading = asyncio.create_task(ask(cache, model))
    await model.started.wait()
    following = asyncio.create_task(ask(cache, model))
    await asyncio.sleep(0.2)
    spare_server.stop()
    model.hold.set()

    leader, follower = await asyncio.gather(leading, following)

    assert (leader.status, leader.discarded) == ("unavailable", False)
    assert follower.generation.summary.title in ("answer 1", "answer 2")
    assert model.calls <= 2


async def test_cache_works_again_after_the_store_is_back(make_cache: MakeCache, spare_server: Server) -> None:
    cache = make_cache(cache_url=spare_server.url, coordination_url=spare_server.url)
    model = Model()
    await ask(cache, model)
    spare_server.stop()
    down = [await ask(cache, model) for _ in range(4)]
    spare_server.start()

    async def served_again() -> bool:
        return (await ask(cache, model)).status == "hit"

    await until(served_again)
    hit = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert {outcome.status for outcome in down} == {"unavailable"}
    assert isinstance(hit, Hit)
    assert hit.entry.generation.summary.title != "answer 1"


async def test_store_that_hangs_is_given_up_and_then_skipped(
    make_cache: MakeCache, spare_server: Server
) -> None:
    cache = make_cache(cache_url=spare_server.url, timeout_s=0.1, skip_s=3600)
    model = Model()
    await ask(cache, model)
    spare_server.freeze()
    try:
        answers = [await ask(cache, model) for _ in range(6)]
    finally:
        spare_server.thaw()

    skipped = await ask(cache, model)

    assert {outcome.status for outcome in [*answers, skipped]} == {"unavailable"}
    assert model.calls == 8


async def test_invalidation_that_cannot_be_done_is_an_error(
    make_cache: MakeCache, spare_server: Server
) -> None:
    cache = make_cache(cache_url=spare_server.url)
    spare_server.stop()

    with pytest.raises(Unavailable):
        await cache.invalidate(7, [("trace", "t-1")])
    with pytest.raises(Unavailable):
        await cache.invalidate_all(7)


async def test_two_servers_work_like_one(make_cache: MakeCache, spare_server: Server, server: Server) -> None:
    cache, model = make_cache(cache_url=spare_server.url), Model()
    await ask(cache, model)
    deleted = await cache.invalidate(7, [("trace", "t-1")])
    again = await ask(cache, model)
    await cache.invalidate_all(7)
    after = await ask(cache, model)

    assert (deleted, again.status, after.status) == (1, "miss", "miss")
    assert (await ask(cache, model)).status == "hit"


async def test_flushed_coordination_does_not_block_later_results(
    make_cache: MakeCache, spare_server: Server
) -> None:
    cache, model = make_cache(coordination_url=spare_server.url), Model()
    await ask(cache, model)
    await cache.invalidate_all(7)
    await ask(cache, model)
    spare_server.stop()
    spare_server.start()

    outcomes: list[Outcome] = []

    async def coordinated_again() -> bool:
        outcomes.append(await ask(cache, Model(), data=f"new {len(outcomes)}"))
        return outcomes[-1].status == "miss"

    await until(coordinated_again)
    hit = await ask(cache, model, data=f"new {len(outcomes) - 1}")

    assert (outcomes[-1].discarded, hit.status) == (False, "hit")


async def test_texts_come_back_as_they_were(server: Server) -> None:
    gate = StoreGate(limit_s=2, faults=FaultCounter(skip_s=1))
    body = "L1: text é\n".encode() * 10_000
    async with cache_client(server.url) as client:
        cache = TextCache(client, gate=gate)
        missed = await cache.get("k")
        await cache.put("k", body)
        found = await cache.get("k")
        left_ms = await client.pttl("k")
    with blocking_cache_client(server.url) as blocking:
        shared = BlockingTextCache(blocking, faults=FaultCounter(skip_s=1)).get("k")

    assert (missed, found, shared) == (None, body, body)
    assert 0 < left_ms <= 3_600_000


async def test_texts_are_misses_when_the_store_is_down(spare_server: Server) -> None:
    spare_server.stop()
    gate = StoreGate(limit_s=2, faults=FaultCounter(skip_s=1))
    async with cache_client(spare_server.url) as client:
        cache = TextCache(client, gate=gate)
        await cache.put("k", b"x")
        found = await cache.get("k")
    with blocking_cache_client(spare_server.url) as blocking:
        faults = FaultCounter(skip_s=3600)
        shared = BlockingTextCache(blocking, faults=faults)
        shared.put("k", b"x")
        answers = [shared.get("k") for _ in range(3)]

    assert (found, answers) == (None, [None, None, None])
    assert faults.closed
