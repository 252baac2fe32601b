"""One computes and the rest wait, whatever happens to the one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from cache import keys
from cache.connection import FaultCounter, StoreGate, StoreUnavailable, coordination_client
from cache.journal import Journal
from cache.single_flight import Ended, Flight, Follow, Lead, Notices, SingleFlight
from cache.summaries import Hit, Outcome
from jobs.errors import TimedOut, Unavailable, UpstreamBadAnswer
from jobs.summarization import Generation
from tests.integration.cache.support import BUDGET, KEY, MakeCache, Model, Server, ask, generation, until

pytestmark = pytest.mark.anyio

FP = keys.content_fp("content")
FLIGHT = Flight(KEY, keys.fingerprint(FP, KEY.variant), "plain")
FORCED = Flight(KEY, FLIGHT.fingerprint, "forced")


@contextlib.asynccontextmanager
async def flights(server: Server, *, lease_s: float = 5) -> AsyncIterator[SingleFlight]:
    """Leases as a process that can be abandoned would hold them."""
    client = coordination_client(server.url)
    gate = StoreGate(limit_s=2, faults=FaultCounter(skip_s=0.1))
    single = SingleFlight(client, gate=gate, lease_s=lease_s)
    try:
        yield single
    finally:
        await single.aclose()
        await client.aclose()


async def wait_until_waiting(server: Server, count: int = 1) -> None:
    """Until so many processes have subscribed to the end of flights."""
    async with redis.asyncio.Redis.from_url(server.url) as client:

        async def waiting() -> bool:
            return bool((await client.pubsub_numsub(keys.FLIGHT_CHANNEL))[0][1] >= count)

        await until(waiting)


# the lease


async def test_only_one_leads_and_the_next_has_a_higher_fence(server: Server) -> None:
    async with flights(server) as single:
        first = await single.acquire(FLIGHT, token="a", owner="job-a")
        second = await single.acquire(FLIGHT, token="b", owner="job-b")
        repeated = await single.acquire(FLIGHT, token="a", owner="job-a")
        assert isinstance(first, Lead)
        await single.finish(first, b"done")
        third = await single.acquire(FLIGHT, token="c", owner="job-c")

    assert isinstance(second, Follow)
    assert (second.owner, second.fence) == ("job-a", first.fence)
    assert repeated == first
    assert isinstance(third, Lead)
    assert third.fence > first.fence


async def test_outcome_reaches_those_who_waited_and_nobody_else(server: Server) -> None:
    async with flights(server) as single:
        lead = await single.acquire(FLIGHT, token="a", owner="a")
        follow = await single.acquire(FLIGHT, token="b", owner="b")
        assert isinstance(lead, Lead)
        assert isinstance(follow, Follow)
        await single.finish(lead, b"result")

        waited = await single.acquire(FLIGHT, token="b", owner="b", waited=follow)
        newcomer = await single.acquire(FLIGHT, token="c", owner="c")

    assert waited == Ended(b"result")
    assert isinstance(newcomer, Lead)


async def test_lease_that_ran_out_goes_to_exactly_one(server: Server) -> None:
    async with flights(server, lease_s=0.1) as single:
        dead = await single.acquire(FLIGHT, token="dead", owner="a")
        await asyncio.sleep(0.15)

        steps = await asyncio.gather(
            *(single.acquire(FLIGHT, token=str(number), owner="b") for number in range(20))
        )
        assert isinstance(dead, Lead)
        kept = await single.renew(dead)
        ended = await single.finish(dead, b"late")

    leads = [step for step in steps if isinstance(step, Lead)]
    assert len(leads) == 1
    assert leads[0].fence > dead.fence
    assert (kept, ended) == (False, False)


async def test_forced_never_joins_unforced_but_unforced_joins_forced(server: Server) -> None:
    async with flights(server) as single:
        plain = await single.acquire(FLIGHT, token="a", owner="a")
        forced = await single.acquire(FORCED, token="b", owner="b")
        forced_again = await single.acquire(FORCED, token="c", owner="c")
        assert isinstance(plain, Lead)
        await single.finish(plain, b"plain")
        joined = await single.acquire(FLIGHT, token="d", owner="d")

    assert isinstance(forced, Lead)
    assert isinstance(forced_again, Follow)
    assert isinstance(joined, Follow)
    assert joined.lane == "forced"


@pytest.mark.parametrize("everything", [False, True])
async def test_invalidated_flight_may_not_commit_and_is_not_joined(server: Server, everything: bool) -> None:
    async with flights(server) as single:
        lead = await single.acquire(FLIGHT, token="a", owner="a")
        assert isinstance(lead, Lead)
        before = await single.may_commit(lead)

        if everything:
            await single.bump_epoch(7)
        else:
            await single.raise_floors([KEY.entity], modes=["minimal"])
        newcomer = await single.acquire(FLIGHT, token="b", owner="b")

        assert isinstance(newcomer, Lead)
        assert (before, await single.may_commit(lead), await single.may_commit(newcomer)) == (
            True,
            False,
            True,
        )
        assert newcomer.journal != lead.journal


async def test_fences_go_on_after_the_store_lost_its_data(server: Server) -> None:
    async with flights(server) as single, redis.asyncio.Redis.from_url(server.url) as client:
        before = await single.acquire(FLIGHT, token="a", owner="a")
        await client.flushall()

        after = await single.acquire(FLIGHT, token="b", owner="b")

    assert isinstance(before, Lead)
    assert isinstance(after, Lead)
    assert after.fence > before.fence


# executions


async def test_two_hundred_processes_compute_once(make_cache: MakeCache) -> None:
    model = Model(hold=asyncio.Event())
    caches = [make_cache() for _ in range(200)]
    tasks = [asyncio.create_task(ask(cache, model, owner=str(n))) for n, cache in enumerate(caches)]
    await model.started.wait()
    model.hold.set()

    outcomes = await asyncio.gather(*tasks)

    assert model.calls == 1
    assert {outcome.generation.summary.title for outcome in outcomes} == {"answer 1"}
    assert [outcome.status for outcome in outcomes].count("miss") == 1
    assert {outcome.status for outcome in outcomes} <= {"miss", "follower", "hit"}


async def test_five_hundred_callers_of_one_cache_all_get_an_answer(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()

    outcomes = await asyncio.gather(*(ask(cache, model) for _ in range(500)))

    assert (len(outcomes), model.calls) == (500, 1)
    assert "unavailable" not in {outcome.status for outcome in outcomes}


async def test_followers_get_the_error_of_the_leader_and_newcomers_start_anew(
    make_cache: MakeCache, server: Server
) -> None:
    model = Model([Unavailable("Busy.", code="llm_unavailable", retry_after_s=7)], hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(), model))
    await model.started.wait()
    following = [asyncio.create_task(ask(make_cache(), model)) for _ in range(5)]
    await wait_until_waiting(server, 5)
    model.hold.set()

    results = await asyncio.gather(leading, *following, return_exceptions=True)
    newcomer = await ask(make_cache(), model)

    assert [type(result) for result in results] == [Unavailable] * 6
    assert {(e.code, e.retry_after_s, e.detail) for e in results} == {("llm_unavailable", 7, "Busy.")}
    assert (newcomer.status, model.calls) == ("miss", 2)


async def test_fault_of_ours_reaches_followers_without_details(make_cache: MakeCache, server: Server) -> None:
    model = Model([ZeroDivisionError("secret")], hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(), model))
    await model.started.wait()
    following = asyncio.create_task(ask(make_cache(), model))
    await wait_until_waiting(server)
    model.hold.set()

    leader, follower = await asyncio.gather(leading, following, return_exceptions=True)

    assert isinstance(leader, ZeroDivisionError)
    assert follower.body()["code"] == "internal_error"
    assert "secret" not in str(follower.body())


async def test_generation_that_is_not_stored_still_reaches_followers(
    make_cache: MakeCache, server: Server
) -> None:
    model = Model([generation("offline", fallback_reason="llm_timeout")], hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(), model))
    await model.started.wait()
    following = asyncio.create_task(ask(make_cache(), model))
    await wait_until_waiting(server)
    model.hold.set()

    leader, follower = await asyncio.gather(leading, following)

    assert leader.generation == follower.generation
    assert (follower.status, follower.expires_at, model.calls) == ("follower", None, 1)


async def test_dead_leader_is_replaced_by_exactly_one_waiter(make_cache: MakeCache, server: Server) -> None:
    async with flights(server, lease_s=0.5) as abandoned:
        await abandoned.acquire(FLIGHT, token="dead", owner="dead")
        model = Model()

        outcomes = await asyncio.gather(*(ask(make_cache(), model) for _ in range(20)))

    assert model.calls == 1
    assert [outcome.status for outcome in outcomes].count("miss") == 1


async def test_canceled_leader_hands_over_at_once(make_cache: MakeCache, server: Server) -> None:
    stuck, model = Model(hold=asyncio.Event()), Model()
    leading = asyncio.create_task(ask(make_cache(lease_s=3600), stuck))
    await stuck.started.wait()
    following = asyncio.create_task(ask(make_cache(lease_s=3600), model))
    await wait_until_waiting(server)

    leading.cancel()
    async with asyncio.timeout(20):
        outcome = await following

    assert (outcome.status, model.calls) == ("miss", 1)


async def test_lost_notice_costs_no_more_than_a_poll(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notices, "_take", lambda self, message: self._subscribed.set())
    model = Model(hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(lease_s=3600), model))
    await model.started.wait()
    following = asyncio.create_task(ask(make_cache(lease_s=3600), model))
    await asyncio.sleep(0.1)
    model.hold.set()

    async with asyncio.timeout(20):
        leader, follower = await asyncio.gather(leading, following)

    assert leader.generation == follower.generation


async def test_lease_is_renewed_while_the_leader_works(make_cache: MakeCache) -> None:
    model = Model(hold=asyncio.Event())
    leading = asyncio.create_task(ask(make_cache(lease_s=0.6), model))
    await model.started.wait()
    following = asyncio.create_task(ask(make_cache(lease_s=0.6), model))
    await asyncio.sleep(1.5)
    model.hold.set()

    outcomes = await asyncio.gather(leading, following)

    assert model.calls == 1
    assert [outcome.discarded for outcome in outcomes] == [False, False]


async def test_paused_leader_cannot_overwrite_a_newer_result(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused, current = make_cache(lease_s=0.3), make_cache(lease_s=0.3)

    async def asleep(lead: Lead) -> bool:
        raise StoreUnavailable

    monkeypatch.setattr(paused._flights, "renew", asleep)
    old, new = Model([generation("old")], hold=asyncio.Event()), Model([generation("new")])
    leading = asyncio.create_task(ask(paused, old))
    await old.started.wait()
    replacement = await ask(current, new)
    old.hold.set()

    late = await leading
    stored = await current.peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert (replacement.status, replacement.discarded) == ("miss", False)
    assert (late.status, late.discarded, late.generation.summary.title) == ("miss", True, "new")
    assert isinstance(stored, Hit)
    assert stored.entry.generation.summary.title == "new"


async def test_older_result_of_other_content_is_answered_but_not_stored(make_cache: MakeCache) -> None:
    cache = make_cache()
    old, new = Model([generation("old")], hold=asyncio.Event()), Model([generation("new")])
    leading = asyncio.create_task(ask(cache, old, data="before"))
    await old.started.wait()
    await ask(cache, new, data="after")
    old.hold.set()

    late = await leading

    assert (late.generation.summary.title, late.discarded, late.expires_at) == ("old", True, None)
    assert (await ask(cache, new, data="after")).status == "hit"


@pytest.mark.parametrize("everything", [False, True])
async def test_generation_in_flight_does_not_repopulate_after_invalidation(
    make_cache: MakeCache, everything: bool
) -> None:
    cache, model = make_cache(), Model(hold=asyncio.Event())
    running = asyncio.create_task(ask(cache, model))
    await model.started.wait()
    if everything:
        await cache.invalidate_all(7)
    else:
        await cache.invalidate(7, [("trace", "t-1")])
    model.hold.set()

    outcome = await running
    peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
    after = await ask(cache, model)

    assert (outcome.generation.summary.title, outcome.discarded, outcome.expires_at) == (
        "answer 1",
        True,
        None,
    )
    assert peeked is None
    assert (after.status, model.calls) == ("miss", 2)


async def test_invalidation_between_check_and_write_is_seen_by_the_write(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = make_cache(), make_cache()
    may_commit = cache._flights.may_commit

    async def checked_too_early(lead: Lead) -> bool:
        allowed = await may_commit(lead)
        await other.invalidate(7, [("trace", "t-1")])
        return allowed

    monkeypatch.setattr(cache._flights, "may_commit", checked_too_early)

    outcome = await ask(cache, Model())

    assert outcome.discarded
    assert await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET) is None


async def test_forced_requests_share_one_generation_of_their_own(
    make_cache: MakeCache, server: Server
) -> None:
    slow, fast = Model([generation("unforced")], hold=asyncio.Event()), Model(hold=asyncio.Event())
    unforced = asyncio.create_task(ask(make_cache(), slow))
    await slow.started.wait()
    arrived = time.time()
    forced = [
        asyncio.create_task(ask(make_cache(), fast, forced_at=arrived, owner=str(number)))
        for number in range(10)
    ]
    await fast.started.wait()
    fast.hold.set()
    refreshed = await asyncio.gather(*forced)
    slow.hold.set()

    late = await unforced

    assert (slow.calls, fast.calls) == (1, 1)
    assert [outcome.status for outcome in refreshed].count("refresh") == 1
    assert {outcome.status for outcome in refreshed} == {"refresh", "follower"}
    assert (late.discarded, late.generation.summary.title) == (True, "answer 1")


async def test_unforced_are_served_the_old_entry_during_a_refresh(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model)
    refresh = Model([generation("fresh")], hold=asyncio.Event())
    refreshing = asyncio.create_task(ask(cache, refresh, forced_at=time.time()))
    await refresh.started.wait()

    during = await ask(cache, model)
    refresh.hold.set()
    await refreshing
    after = await ask(cache, model)

    assert (during.status, during.generation.summary.title) == ("hit", "answer 1")
    assert (after.status, after.generation.summary.title, model.calls) == ("hit", "fresh", 1)


async def test_follower_with_a_larger_budget_computes_for_itself(
    make_cache: MakeCache, server: Server
) -> None:
    small = Model([generation("cut", truncated_input=True)], hold=asyncio.Event())
    large = Model([generation("whole")])
    leading = asyncio.create_task(ask(make_cache(), small, budget_tokens=10, text="cut"))
    await small.started.wait()
    following = asyncio.create_task(ask(make_cache(), large, budget_tokens=1000, text="whole"))
    await wait_until_waiting(server)
    small.hold.set()

    leader, follower = await asyncio.gather(leading, following)

    assert (leader.generation.summary.title, follower.generation.summary.title) == ("cut", "whole")
    assert (small.calls, large.calls) == (1, 1)


# the journal


class Paying:
    """Pays for an answer unless the journal has it; then goes on as `after` says."""

    def __init__(self, after: Exception | None = None, *, hang: bool = False) -> None:
        self.paid = 0
        self.after = after
        self.hang = hang
        self.journaled = asyncio.Event()

    async def __call__(self, journal: Journal) -> Generation:
        raw = await journal.read(1)
        if raw is None:
            self.paid += 1
            raw = f"paid {self.paid}".encode()
            await journal.write(1, raw)
        self.journaled.set()
        if self.hang:
            await asyncio.Event().wait()
        if self.after is not None:
            raise self.after
        return generation(raw.decode())


async def crash(cache_task: asyncio.Task[Outcome]) -> None:
    cache_task.cancel()
    await asyncio.wait({cache_task})


@pytest.mark.parametrize("forced_at", [None, 1.0])
async def test_answer_paid_before_a_crash_is_not_paid_again(
    make_cache: MakeCache, forced_at: float | None
) -> None:
    first, second = Paying(hang=True), Paying()
    running = asyncio.create_task(ask(make_cache(), first, forced_at=forced_at))
    await first.journaled.wait()
    await crash(running)

    outcome = await ask(make_cache(), second, forced_at=forced_at)

    assert (outcome.generation.summary.title, second.paid) == ("paid 1", 0)


async def test_refresh_of_another_job_pays_anew(make_cache: MakeCache) -> None:
    first, second = Paying(hang=True), Paying()
    running = asyncio.create_task(ask(make_cache(), first, forced_at=1.0, owner="job-1"))
    await first.journaled.wait()
    await crash(running)

    await ask(make_cache(), second, forced_at=1.0, owner="job-2")

    assert second.paid == 1


async def test_journal_ends_with_the_flight(make_cache: MakeCache) -> None:
    cache, paying = make_cache(), Paying()
    await ask(cache, paying)
    await cache.invalidate(7, [("trace", "t-1")])
    await ask(cache, paying)
    failing = Paying(TimedOut("Late.", code="llm_timeout"))

    for _ in range(2):
        with pytest.raises(TimedOut):
            await ask(cache, failing, data="other")

    assert (paying.paid, failing.paid) == (2, 2)


async def test_journal_of_a_crash_is_not_used_after_an_invalidation(make_cache: MakeCache) -> None:
    cache, first, second = make_cache(), Paying(hang=True), Paying()
    running = asyncio.create_task(ask(cache, first))
    await first.journaled.wait()
    await crash(running)

    await cache.invalidate(7, [("trace", "t-1")])
    await ask(cache, second)

    assert second.paid == 1


async def test_remembered_failure_reaches_a_waiter_that_takes_over(
    make_cache: MakeCache, server: Server
) -> None:
    async with flights(server, lease_s=0.5) as abandoned:
        await abandoned.acquire(FLIGHT, token="dead", owner="dead")
        model = Model([UpstreamBadAnswer("No.", code="llm_refused")])

        results = await asyncio.gather(*(ask(make_cache(), model) for _ in range(5)), return_exceptions=True)

    assert {getattr(result, "code", None) for result in results} == {"llm_refused"}
    assert model.calls == 1
