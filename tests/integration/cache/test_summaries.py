"""The summary cache against a real server: what is a hit, what is computed, what is kept."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import redis.asyncio

from cache import keys
from cache.connection import cache_client
from cache.keys import SummaryKey
from cache.summaries import Hit, Negative, RememberedFailure, Sought
from jobs.errors import Unavailable, UpstreamBadAnswer
from tests.integration.cache.support import BUDGET, KEY, MakeCache, Model, Server, ask, generation

pytestmark = pytest.mark.anyio

FP = keys.content_fp("content")


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def test_second_request_is_a_hit_without_a_call(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()

    first = await ask(cache, model)
    second = await ask(cache, model)

    assert (first.status, second.status, model.calls) == ("miss", "hit", 1)
    assert second.generation == first.generation
    assert second.expires_at == pytest.approx(first.expires_at, abs=0.01)


async def test_peek_sees_what_was_stored(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    before = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
    await ask(cache, model)

    hit = await make_cache().peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert before is None
    assert isinstance(hit, Hit)
    assert not hit.stale
    assert hit.entry.generation == generation("answer 1")


async def test_many_are_looked_up_at_once_in_order(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    other, failing = replace(KEY, entity_id="other"), replace(KEY, entity_id="failing")
    await ask(cache, model)
    await ask(cache, model, key=other)
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, Model([UpstreamBadAnswer("No.", code="llm_refused")]), key=failing)

    found = await cache.peek_all(
        [
            Sought(other, FP, BUDGET),
            Sought(replace(KEY, entity_id="unknown"), FP, BUDGET),
            Sought(failing, FP, BUDGET),
            Sought(KEY, keys.content_fp("changed"), BUDGET),
            Sought(KEY, FP, BUDGET),
        ]
    )

    assert [type(one) for one in found] == [Hit, type(None), Negative, type(None), Hit]
    titles = [one.entry.generation.summary.title for one in found if isinstance(one, Hit)]
    assert titles == ["answer 2", "answer 1"]


async def test_other_content_is_a_miss(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model)

    changed = await ask(cache, model, data="changed")
    peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert (changed.status, model.calls) == ("miss", 2)
    assert peeked is None


@pytest.mark.parametrize("other", [{"project_id": 8}, {"mode": "detailed"}, {"variant": "w" * 16}])
async def test_other_keys_do_not_share(make_cache: MakeCache, other: dict[str, object]) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model)

    outcome = await ask(cache, model, key=replace(KEY, **other))  # type: ignore[arg-type]

    assert (outcome.status, model.calls) == ("miss", 2)


async def test_content_with_the_same_text_is_a_hit_and_is_learned(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model, data="one", text="same")

    outcome = await ask(cache, model, data="two", text="same")
    peeked = await cache.peek(KEY, content_fp=keys.content_fp("two"), budget_tokens=BUDGET)

    assert (outcome.status, model.calls) == ("hit", 1)
    assert isinstance(peeked, Hit)


async def test_text_is_rendered_once_for_a_miss_and_never_for_a_hit(make_cache: MakeCache) -> None:
    cache, model, rendered = make_cache(), Model(), []

    async def render() -> str:
        rendered.append(1)
        return "text"

    for _ in range(2):
        await cache.get_or_compute(
            KEY,
            content_fp=FP,
            text_fp=render,
            budget_tokens=BUDGET,
            forced_at=None,
            owner="job",
            compute=model,
        )

    assert len(rendered) == 1


async def test_reduced_text_is_a_miss_for_a_larger_budget_only(make_cache: MakeCache) -> None:
    cache = make_cache()
    model = Model([generation("cut", truncated_input=True), generation("whole")])
    await ask(cache, model, budget_tokens=1000, text="cut")

    smaller = await ask(cache, model, budget_tokens=900, text="cut")
    larger = await ask(cache, model, budget_tokens=2000, text="whole")
    again = await ask(cache, model, budget_tokens=1000, text="cut")

    assert (smaller.status, larger.status, again.status) == ("hit", "miss", "hit")
    assert again.generation.summary.title == "whole"


async def test_fallback_is_answered_but_not_stored(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model([generation(fallback_reason="llm_timeout")])

    outcome = await ask(cache, model)
    peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert (outcome.status, outcome.expires_at, outcome.discarded) == ("miss", None, False)
    assert peeked is None


async def test_entry_over_the_limit_is_answered_but_not_stored(make_cache: MakeCache) -> None:
    cache = make_cache()
    noise = "".join(keys.content_fp(number) for number in range(9000))

    outcome = await ask(cache, Model([generation(noise)]))

    assert (outcome.status, outcome.expires_at) == ("miss", None)
    assert await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET) is None


async def test_damaged_entry_is_deleted_and_counts_as_a_miss(make_cache: MakeCache, server: Server) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model)
    async with cache_client(server.url) as client:
        await client.hset(KEY.text(0), "body", b"\x01 damaged")

        peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
        left = await client.exists(KEY.text(0))
    outcome = await ask(cache, model)

    assert (peeked, left) == (None, 0)
    assert (outcome.status, model.calls) == ("miss", 2)


# times


async def test_hit_late_in_its_life_extends_it(make_cache: MakeCache) -> None:
    clock = Clock()
    cache, model = make_cache(clock=clock, dice=lambda: 0.5), Model()
    first = await ask(cache, model)
    clock.now += 0.5 * 86_400
    early = await ask(cache, model)
    clock.now += 0.4 * 86_400

    late = await ask(cache, model)

    assert early.expires_at == pytest.approx(first.expires_at, abs=0.01)
    assert late.expires_at == pytest.approx(clock.now + 86_400, abs=0.01)


async def test_life_is_never_extended_past_thirty_days(make_cache: MakeCache) -> None:
    clock = Clock()
    cache, model, began = make_cache(clock=clock), Model(), clock.now
    outcome = await ask(cache, model)
    for _ in range(40):
        assert outcome.expires_at is not None
        clock.now = outcome.expires_at - 1
        outcome = await ask(cache, model)

    assert (outcome.status, model.calls) == ("hit", 1)
    assert outcome.expires_at == pytest.approx(began + 30 * 86_400, abs=0.01)


async def test_expired_entry_stands_in_for_an_error(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(clock=clock)
    model = Model([generation("old"), Unavailable("Down.", code="llm_unavailable")])
    await ask(cache, model)
    clock.now += 1.2 * 86_400

    peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
    outcome = await ask(cache, model)

    assert isinstance(peeked, Hit)
    assert peeked.stale
    assert (outcome.status, outcome.generation.summary.title) == ("stale_hit", "old")


async def test_expired_entry_of_other_content_does_not_stand_in(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(clock=clock)
    model = Model([generation("old"), Unavailable("Down.", code="llm_unavailable")])
    await ask(cache, model)
    clock.now += 1.2 * 86_400

    with pytest.raises(Unavailable, match="Down"):
        await ask(cache, model, data="changed")


# failures


@pytest.mark.parametrize("code", ["llm_refused", "llm_rejected", "llm_bad_response"])
async def test_failure_that_would_repeat_is_remembered(make_cache: MakeCache, code: str) -> None:
    cache = make_cache()
    model = Model([UpstreamBadAnswer("No.", code=code, extra={"attempts": 2})])
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, model)

    with pytest.raises(RememberedFailure) as caught:
        await ask(cache, model)
    peeked = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)

    assert caught.value.body() == {
        "type": "server_error",
        "code": code,
        "detail": "No.",
        "attr": None,
        "job_id": "job-1",
        "attempts": 2,
    }
    assert isinstance(peeked, Negative)
    assert peeked.failure.status == 502
    assert peeked.failure.headers == {"X-Cache": "negative"}
    assert model.calls == 1


async def test_other_failures_are_not_remembered(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model([Unavailable("Down.", code="llm_unavailable")])
    with pytest.raises(Unavailable):
        await ask(cache, model)

    outcome = await ask(cache, model)

    assert (outcome.status, model.calls) == ("miss", 2)


async def test_remembered_failure_is_of_its_content_only(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model([UpstreamBadAnswer("No.", code="llm_refused")])
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, model)

    outcome = await ask(cache, model, data="changed")

    assert outcome.status == "miss"


# force


async def test_force_reads_neither_entry_nor_remembered_failure(make_cache: MakeCache) -> None:
    cache = make_cache()
    model = Model([UpstreamBadAnswer("No.", code="llm_refused")])
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, model)

    first = await ask(cache, model, forced_at=time.time())
    second = await ask(cache, model, forced_at=time.time() + 1)
    plain = await ask(cache, model)

    assert (first.status, second.status, plain.status, model.calls) == ("refresh", "refresh", "hit", 3)
    assert plain.generation == second.generation


async def test_late_forced_execution_takes_the_refresh_that_began_after_it_arrived(
    make_cache: MakeCache,
) -> None:
    cache, model = make_cache(), Model()
    arrived = time.time()
    await ask(cache, model, forced_at=arrived, owner="job-1")

    late = await ask(cache, model, forced_at=arrived, owner="job-2")

    assert (late.status, model.calls) == ("follower", 1)


async def test_late_forced_execution_does_not_take_an_unforced_entry(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    arrived = time.time()
    await ask(cache, model)

    forced = await ask(cache, model, forced_at=arrived)

    assert (forced.status, model.calls) == ("refresh", 2)


async def test_failed_refresh_answers_its_error_and_leaves_the_entry(make_cache: MakeCache) -> None:
    cache = make_cache()
    model = Model([generation("old"), Unavailable("Down.", code="llm_unavailable")])
    await ask(cache, model)

    with pytest.raises(Unavailable):
        await ask(cache, model, forced_at=time.time())
    plain = await ask(cache, model)

    assert (plain.status, plain.generation.summary.title) == ("hit", "old")


# forgetting and listing


async def test_invalidation_deletes_all_variants_of_the_entity(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    other = replace(KEY, entity_id="t-2")
    for key in (KEY, replace(KEY, mode="detailed"), replace(KEY, variant="w" * 16), other):
        await ask(cache, model, key=key)

    deleted = await cache.invalidate(7, [("trace", "t-1"), ("event", "t-1")])
    again = await cache.invalidate(7, [("trace", "t-1")])
    after = await ask(cache, model)
    untouched = await ask(cache, model, key=other)

    assert (deleted, again, after.status, untouched.status) == (3, 0, "miss", "hit")


async def test_invalidation_of_one_mode_leaves_the_other(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    detailed = replace(KEY, mode="detailed")
    for key in (KEY, detailed):
        await ask(cache, model, key=key)

    deleted = await cache.invalidate(7, [("trace", "t-1")], modes=["minimal"])

    assert deleted == 1
    assert (await ask(cache, model, key=detailed)).status == "hit"
    assert (await ask(cache, model)).status == "miss"


async def test_invalidation_forgets_remembered_failures(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model([UpstreamBadAnswer("No.", code="llm_refused")])
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, model)

    deleted = await cache.invalidate(7, [("trace", "t-1")])
    outcome = await ask(cache, model)

    assert (deleted, outcome.status) == (0, "miss")


async def test_invalidate_all_forgets_the_project_and_no_other(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    other = replace(KEY, project_id=8)
    for key in (KEY, other):
        await ask(cache, model, key=key)

    await cache.invalidate_all(7)

    assert await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET) is None
    assert (await ask(make_cache(), model)).status == "miss"
    assert (await ask(cache, model)).status == "hit"
    assert (await ask(cache, model, key=other)).status == "hit"


async def test_batch_check_lists_unexpired_summaries_in_request_order(make_cache: MakeCache) -> None:
    clock = Clock()
    cache, model = make_cache(clock=clock), Model()
    await ask(cache, model, key=replace(KEY, entity_id="gone"))
    clock.now += 1.2 * 86_400
    for entity in ("a", "b"):
        await ask(cache, model, key=replace(KEY, entity_id=entity))

    listed = await cache.batch_check(7, ["b", "x", "a", "b", "gone"], mode="minimal", variant=KEY.variant)

    assert [(item.entity_id, item.title, item.model) for item in listed] == [
        ("b", "answer 3", "m-1"),
        ("a", "answer 2", "m-1"),
    ]
    assert listed[0].created_at == pytest.approx(clock.now)


async def test_store_that_lost_an_index_or_epoch_has_misses_not_old_entries(
    make_cache: MakeCache, server: Server
) -> None:
    cache, model = make_cache(), Model()
    await ask(cache, model)
    async with cache_client(server.url) as client:
        await client.delete(f"{keys.INDEX_PREFIX}:0:{KEY.entity}")
        without_index = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
        await ask(cache, model)
        await cache.invalidate_all(7)
        await client.delete(f"{keys.EPOCH_PREFIX}:7")

        without_epoch = await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET)
    healed = await ask(cache, model)

    assert (without_index, without_epoch, healed.status) == (None, None, "miss")
    assert isinstance(await cache.peek(KEY, content_fp=FP, budget_tokens=BUDGET), Hit)


async def test_every_key_in_the_store_expires_but_the_epochs(make_cache: MakeCache, server: Server) -> None:
    cache = make_cache()
    model = Model([UpstreamBadAnswer("No.", code="llm_refused")])
    with pytest.raises(UpstreamBadAnswer):
        await ask(cache, model)
    await ask(cache, model, forced_at=time.time())
    await cache.invalidate(7, [("trace", "t-1")])
    await ask(cache, model)

    async with redis.asyncio.Redis.from_url(server.url) as client:
        lasting = [name async for name in client.scan_iter() if await client.ttl(name) < 0]

    assert lasting == [f"{keys.EPOCH_PREFIX}:7".encode()]


async def test_odd_entity_ids_do_not_meet(make_cache: MakeCache) -> None:
    cache, model = make_cache(), Model()
    names = ["a", "a:minimal", "*", "\ud800", "a\n", "x" * 512]

    for name in names:
        await ask(cache, model, key=SummaryKey(7, "trace", name, "minimal", KEY.variant))

    assert model.calls == len(names)
