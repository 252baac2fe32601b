"""The circuit breaker, its state shared by several processes (here: several breakers on one store)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from cache.breaker import BreakerRules, CallAdmission, CircuitBreaker, Verdict

pytestmark = pytest.mark.anyio

SOON = BreakerRules(open_s=0.001, failures_in_a_row=3)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker(store: Redis, *, rules: BreakerRules | None = None, clock: Clock | None = None) -> CircuitBreaker:
    return CircuitBreaker(
        store, base_url="http://provider.test/v1", model="m", rules=rules, monotonic=clock or Clock()
    )


async def record(circuit: CircuitBreaker, verdict: Verdict, count: int = 1) -> None:
    for _ in range(count):
        await circuit.record(await circuit.admit(), verdict)


async def test_failures_in_a_row_open_it_for_everybody(store: Redis) -> None:
    clock = Clock()
    one, other = breaker(store, clock=clock), breaker(store)

    await record(one, "failure", 5)
    await record(other, "failure", 5)
    clock.now += 1

    assert 29 < (await one.admit()).retry_after_s <= 30
    assert 29 < (await breaker(store).admit()).retry_after_s <= 30


async def test_a_success_of_another_process_breaks_the_row(store: Redis) -> None:
    one, other = breaker(store), breaker(store)
    await record(one, "failure", 9)

    await record(other, "success")
    await record(one, "failure", 9)

    assert not one.open


async def test_half_of_a_large_sample_opens_it(store: Redis) -> None:
    circuit = breaker(store)

    for _ in range(9):
        await record(circuit, "success")
        await record(circuit, "failure")
    closed = circuit.open
    await record(circuit, "success")
    await record(circuit, "failure")

    assert (closed, circuit.open) == (False, True)


async def test_few_failures_among_many_successes_do_not_open_it(store: Redis) -> None:
    circuit = breaker(store)

    await record(circuit, "success", 100)
    for _ in range(9):
        await record(circuit, "failure", 2)
        await record(circuit, "success", 3)

    assert not circuit.open


async def test_what_says_nothing_of_the_health_does_not_count(store: Redis) -> None:
    circuit = breaker(store)

    await record(circuit, "neutral", 50)

    assert not circuit.open


async def test_a_wrong_key_opens_it_at_once(store: Redis) -> None:
    circuit = breaker(store)

    await record(circuit, "fatal")

    assert circuit.open


async def test_another_model_is_not_concerned(store: Redis) -> None:
    await record(breaker(store), "fatal")
    other = CircuitBreaker(store, base_url="http://provider.test/v1", model="another")

    assert (await other.admit()).retry_after_s == 0


async def opened(store: Redis, clock: Clock) -> CircuitBreaker:
    """A breaker whose first pause is over."""
    circuit = breaker(store, rules=SOON, clock=clock)
    await record(circuit, "failure", 3)
    clock.now += 1
    await asyncio.sleep(0.01)  # the store has a clock of its own
    return circuit


async def test_after_the_pause_one_probe_goes_and_the_rest_wait(store: Redis) -> None:
    clock = Clock()
    circuit, other = await opened(store, clock), breaker(store, rules=SOON, clock=clock)

    probe = await circuit.admit()

    assert probe.probe is not None
    assert (await circuit.admit()).retry_after_s == 1
    assert (await other.admit()).retry_after_s == 1


async def test_a_probe_that_works_closes_it(store: Redis) -> None:
    clock = Clock()
    circuit = await opened(store, clock)

    await circuit.record(await circuit.admit(), "success")

    assert not circuit.open
    assert (await circuit.admit()).retry_after_s == 0


async def test_a_probe_that_fails_doubles_the_pause(store: Redis) -> None:
    clock = Clock()
    rules = BreakerRules(open_s=0.001, failures_in_a_row=1, longest_open_s=60)
    circuit = breaker(store, rules=rules, clock=clock)
    await store.hset(circuit._key, mapping={"openings": 10, "open_until": 0})

    await circuit.record(await circuit.admit(), "failure")

    assert (await circuit.admit()).retry_after_s == pytest.approx(0.001 * 2**10, abs=0.002)


async def test_the_pause_has_an_upper_limit(store: Redis) -> None:
    circuit = breaker(store, rules=BreakerRules(open_s=30))
    await store.hset(circuit._key, mapping={"openings": 40, "open_until": 0})

    await circuit.record(await circuit.admit(), "failure")

    assert circuit.blocked_s() == pytest.approx(300)


async def test_a_probe_without_a_verdict_lets_the_next_one_try(store: Redis) -> None:
    clock = Clock()
    circuit = await opened(store, clock)

    await circuit.record(await circuit.admit(), "neutral")

    assert (await circuit.admit()).probe is not None


async def test_late_results_from_before_the_opening_prove_nothing(store: Redis) -> None:
    clock = Clock()
    circuit = await opened(store, clock)
    probe = await circuit.admit()

    await circuit.record(CallAdmission(), "failure")
    await circuit.record(CallAdmission(), "success")
    still_open = circuit.open
    await circuit.record(probe, "success")

    assert (still_open, circuit.open) == (True, False)


async def test_successes_while_all_is_well_are_not_written(store: Redis) -> None:
    circuit = breaker(store)

    await record(circuit, "success", 20)

    assert await store.keys("*") == []


async def test_without_the_store_each_process_decides_for_itself(dead_store: Redis) -> None:
    clock = Clock()
    circuit = breaker(dead_store, clock=clock)

    await record(circuit, "failure", 10)
    blocked = (await circuit.admit()).retry_after_s
    clock.now += 31
    probe = await circuit.admit()
    await circuit.record(probe, "success")

    assert 29 < blocked <= 30
    assert probe.retry_after_s == 0
    assert (await circuit.admit()).retry_after_s == 0
