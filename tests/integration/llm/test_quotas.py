"""Rate limits and spend caps, shared by several processes (here: several `CallQuotas` on one store)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from redis.asyncio import Redis

from cache.quotas import CallQuotas, QuotaLimits, QuotaTicket, pace

pytestmark = pytest.mark.anyio


async def reserve(quotas: CallQuotas, *, seconds: float = 30, **demand: Any) -> QuotaTicket:
    values: dict[str, Any] = {
        "project_id": 1,
        "job_id": "job",
        "on_demand": True,
        "tokens": 100,
        "usd": 0.001,
        "job_cap_usd": None,
        "deadline": time.monotonic() + seconds,
    }
    return await quotas.reserve(**{**values, **demand})


@pytest.mark.parametrize("per_minute", [1, 2, 10, 60, 66, 67, 100, 600, 10_000])
def test_no_minute_sees_more_requests_than_the_limit(per_minute: int) -> None:
    step, slack = pace(per_minute)

    assert int((60_000 + slack) / step) + 1 <= per_minute
    assert 60_000 / step >= 0.95 * per_minute


async def test_without_limits_the_store_is_not_asked(dead_store: Redis) -> None:
    quotas = CallQuotas(dead_store, QuotaLimits())

    ticket = await reserve(quotas)
    await ticket.settle(tokens=10, usd=0)

    assert ticket.refusal is None
    assert not quotas._store.is_down


async def test_requests_are_spread_evenly(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(requests_per_minute=3000))
    started = time.monotonic()

    await asyncio.gather(*(reserve(quotas) for _ in range(60)))

    # 30 may go at once, the other 30 follow every 20 ms; a slower machine only takes longer.
    assert time.monotonic() - started >= 0.5
    await quotas.close()


async def test_two_processes_share_one_limit(store: Redis) -> None:
    both = [CallQuotas(store, QuotaLimits(requests_per_minute=3000)) for _ in range(2)]
    started = time.monotonic()

    await asyncio.gather(*(reserve(both[number % 2]) for number in range(60)))

    assert time.monotonic() - started >= 0.5
    for quotas in both:
        await quotas.close()


async def test_the_limit_of_one_project_does_not_hold_up_another(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(project_requests_per_minute=1))
    await reserve(quotas, project_id=1)

    held = await reserve(quotas, project_id=1, seconds=1)
    free = await reserve(quotas, project_id=2, seconds=1)

    assert (held.refusal, free.refusal) == ("rate", None)
    await quotas.close()


async def test_a_wait_that_does_not_fit_is_refused_at_once_with_its_length(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(requests_per_minute=1))
    await reserve(quotas)

    refused = await reserve(quotas, seconds=20)

    assert refused.refusal == "rate"
    assert 50 < refused.retry_after_s < 62
    await quotas.close()


async def test_bulk_work_goes_back_to_its_queue_instead_of_waiting_long(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(requests_per_minute=1, bulk_patience_s=1))
    await reserve(quotas)

    refused = await reserve(quotas, on_demand=False, seconds=300)

    assert refused.refusal == "rate"
    await quotas.close()


async def test_on_demand_work_goes_before_bulk_work(store: Redis) -> None:
    bulk, direct = (CallQuotas(store, QuotaLimits(requests_per_minute=600)) for _ in range(2))
    order: list[str] = []

    async def one(quotas: CallQuotas, name: str, *, on_demand: bool) -> None:
        await reserve(quotas, on_demand=on_demand)
        order.append(name)

    waiting = [asyncio.create_task(one(bulk, "bulk", on_demand=False)) for _ in range(20)]
    await asyncio.sleep(0.3)
    await asyncio.gather(*(one(direct, "direct", on_demand=True) for _ in range(5)))
    before = order.count("bulk")
    await asyncio.gather(*waiting)

    assert before < 18
    assert order.count("bulk") == 20
    for quotas in (bulk, direct):
        await quotas.close()


async def test_a_small_project_gets_its_turn_beside_a_large_one(store: Redis) -> None:
    large, small = (CallQuotas(store, QuotaLimits(requests_per_minute=1200)) for _ in range(2))
    served: Counter[int] = Counter()

    enough = asyncio.Event()

    async def work(quotas: CallQuotas, project_id: int) -> None:
        while True:
            await reserve(quotas, project_id=project_id)
            served[project_id] += 1
            if served.total() >= 60:
                enough.set()

    tasks = [asyncio.create_task(work(large, 1)) for _ in range(30)]
    tasks += [asyncio.create_task(work(small, 2)) for _ in range(6)]
    await enough.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert served[2] >= 15
    for quotas in (large, small):
        await quotas.close()


async def test_a_pause_holds_every_process(store: Redis) -> None:
    told, other = (CallQuotas(store, QuotaLimits(requests_per_minute=6000)) for _ in range(2))

    await told.pause(30)

    for quotas in (told, other):
        refused = await reserve(quotas, seconds=5)
        assert refused.refusal == "rate"
        assert refused.retry_after_s > 25
        await quotas.close()


async def test_a_pause_holds_a_process_without_limits(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits())

    await quotas.pause(30)

    assert (await reserve(quotas, seconds=5)).refusal == "rate"
    await quotas.close()


async def test_tokens_that_were_not_used_are_given_back(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(tokens_per_minute=1000))
    first = await reserve(quotas, tokens=900)

    await first.settle(tokens=0, usd=0)

    assert (await reserve(quotas, tokens=900, seconds=1)).refusal is None
    assert (await reserve(quotas, tokens=900, seconds=1)).refusal == "rate"
    await quotas.close()


async def test_a_reservation_that_could_pass_the_day_cap_is_refused(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(spend_cap_usd=1.0))
    first = await reserve(quotas, usd=0.9)
    refused = await reserve(quotas, usd=0.2)

    await first.settle(tokens=1, usd=0.5)
    later = await reserve(quotas, usd=0.5)

    assert (first.refusal, refused.refusal, later.refusal) == (None, "budget", None)


async def test_the_cap_of_a_job_is_shared_by_processes(store: Redis) -> None:
    one, two = (CallQuotas(store, QuotaLimits()) for _ in range(2))

    granted = await reserve(one, usd=0.6, job_cap_usd=1.0)
    refused = await reserve(two, usd=0.6, job_cap_usd=1.0)
    other_job = await reserve(two, usd=0.6, job_cap_usd=1.0, job_id="another")

    assert (granted.refusal, refused.refusal, other_job.refusal) == (None, "budget", None)


async def test_a_cap_needs_a_price(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(spend_cap_usd=1.0))

    assert (await reserve(quotas, usd=None)).refusal == "price"


async def test_without_the_store_rates_are_open_and_caps_hold(dead_store: Redis) -> None:
    quotas = CallQuotas(dead_store, QuotaLimits(requests_per_minute=1, spend_cap_usd=1.0))

    tickets = [await reserve(quotas, usd=0.4) for _ in range(3)]

    assert [ticket.refusal for ticket in tickets] == [None, None, "budget"]


async def test_a_canceled_wait_leaves_the_line(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(max_inflight=1))
    first = await reserve(quotas)
    waiting = asyncio.create_task(reserve(quotas))
    await asyncio.sleep(0.05)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await first.settle(tokens=1, usd=0)

    assert (await reserve(quotas)).refusal is None
    await quotas.close()


async def test_closing_refuses_those_who_wait(store: Redis) -> None:
    quotas = CallQuotas(store, QuotaLimits(max_inflight=1))
    await reserve(quotas)
    waiting = asyncio.create_task(reserve(quotas))
    await asyncio.sleep(0.05)

    await quotas.close()

    assert (await waiting).refusal == "rate"
