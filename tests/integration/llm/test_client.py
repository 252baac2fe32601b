"""The client on its real transport against a provider that misbehaves over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from cache.breaker import BreakerRules, CircuitBreaker
from cache.journal import MemoryJournal
from cache.quotas import CallQuotas, QuotaLimits
from tests.fakes.llm_replies import CANARY
from tests.fakes.llm_server import LLMServer
from workers.llm import errors
from workers.llm.client import CallPolicy, OpenAIChat, connect
from workers.llm.limits import Unlimited
from workers.llm.model import Answer, CallScope, PaidCall, Prompt
from workers.llm.prices import Price

pytestmark = pytest.mark.anyio

TEXT = "\n".join(f"L{number:03d}: step {number} of the order" for number in range(1, 40))
PROMPT = Prompt("system", (TEXT, "Write 3-5 points."), {"type": "object"}, "summary", 1200, 1000)
FAST = CallPolicy(attempt_timeout_s=0.3, backoff_base_s=0.01, backoff_cap_s=0.02)
PATIENT = replace(FAST, attempt_timeout_s=5)

MakeChat = Callable[..., OpenAIChat]
Ask = Callable[..., Awaitable[Answer[Any]]]


def accept(content: str) -> Any:
    try:
        summary = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise errors.UnusableContent("not JSON") from error
    if not isinstance(summary, dict) or "summary_bullets" not in summary:
        raise errors.UnusableContent("wrong shape")
    return summary


@pytest.fixture
def ledger() -> list[PaidCall]:
    return []


@pytest.fixture
async def make_chat(provider: LLMServer, ledger: list[PaidCall]) -> AsyncIterator[MakeChat]:
    client = connect(
        api_key="sk-test",
        base_url=provider.base_url,
        connect_timeout_s=1,
        attempt_timeout_s=1,
        max_connections=64,
    )

    async def book(call: PaidCall) -> None:
        ledger.append(call)

    def make(*, policy: CallPolicy = FAST, **options: Any) -> OpenAIChat:
        price = Price(input=1, output=4)
        return OpenAIChat("gpt-4.1-mini", client=client, book=book, policy=policy, price=price, **options)

    yield make
    await client.close()


async def ask(chat: OpenAIChat, *, seconds: float = 20, project_id: int = 1, **scope: Any) -> Answer[Any]:
    deadline = time.monotonic() + seconds
    return await chat.ask(PROMPT, accept, scope=CallScope(project_id, "job", True, deadline, **scope))


async def test_an_answer_cites_lines_of_the_text(make_chat: MakeChat) -> None:
    answer = await ask(make_chat())

    points = answer.value["summary_bullets"]
    assert len(points) == 4
    assert all(point["quote"] in TEXT for point in points)
    assert answer.cost_usd is not None
    assert answer.cost_usd > 0


@pytest.mark.parametrize(
    "behaviour",
    ["503", "500", "408", "409", "429", "reset", "close", "cut", "hang", "html", "not_json", "truncated",
     "no_choices", "null_content", "empty_content", "bad_json", "wrong_shape"],
)  # fmt: skip
@pytest.mark.parametrize("recoverable", [False, True])
async def test_one_fault_is_survived(
    provider: LLMServer, make_chat: MakeChat, behaviour: str, *, recoverable: bool
) -> None:
    provider.play(behaviour, retry_after_ms=5)
    chat = make_chat(recoverable=recoverable, policy=replace(FAST, attempt_timeout_s=0.6))

    answer = await ask(chat, journal=MemoryJournal())

    assert answer.attempts == 2
    assert provider.stats.requests == 2


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("401", errors.Misconfigured), ("404_model", errors.Misconfigured), ("403", errors.Misconfigured),
     ("insufficient_quota", errors.Misconfigured), ("context_length", errors.ContextTooLong),
     ("422", errors.Rejected), ("refusal", errors.Refused), ("content_filter", errors.Refused)],
)  # fmt: skip
async def test_a_permanent_fault_costs_one_request(
    provider: LLMServer, make_chat: MakeChat, behaviour: str, error: type[errors.LLMError]
) -> None:
    provider.play(behaviour, count=9)

    with pytest.raises(error) as caught:
        await ask(make_chat())

    assert provider.stats.requests == 1
    assert CANARY not in str(caught.value.body())


async def test_a_provider_that_hangs_is_a_timeout(provider: LLMServer, make_chat: MakeChat) -> None:
    provider.play("hang", count=9)

    with pytest.raises(errors.LLMTimeout):
        await ask(make_chat(), seconds=0.5)


async def test_a_provider_that_drops_connections_is_unavailable(
    provider: LLMServer, make_chat: MakeChat
) -> None:
    provider.play("reset", count=9)

    with pytest.raises(errors.LLMUnavailable) as caught:
        await ask(make_chat())

    assert caught.value.attempts == 4


async def test_every_paid_answer_has_one_line_in_the_ledger(
    provider: LLMServer, make_chat: MakeChat, ledger: list[PaidCall]
) -> None:
    for behaviour in ("503", "bad_json"):
        provider.play(behaviour)

    answer = await ask(make_chat())

    assert [line.kept for line in ledger] == [False, True]
    assert provider.stats.paid == 2
    assert sum(line.usage.total_tokens for line in ledger) == answer.usage.total_tokens


async def test_a_canceled_call_gives_its_place_back(
    provider: LLMServer, make_chat: MakeChat, store: Redis
) -> None:
    quotas = CallQuotas(store, QuotaLimits(max_inflight=1))
    chat = make_chat(quotas=quotas)
    provider.play("hang")
    task = asyncio.create_task(ask(chat))
    await provider.arrival.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await ask(chat)).attempts == 1
    await quotas.close()


async def test_calls_in_flight_never_pass_the_cap(
    provider: LLMServer, make_chat: MakeChat, store: Redis
) -> None:
    provider.configure(latency_ms=100)
    quotas = CallQuotas(store, QuotaLimits(max_inflight=3))
    chat = make_chat(quotas=quotas)

    await asyncio.gather(*(ask(chat) for _ in range(30)))

    assert provider.stats.max_inflight == 3
    assert provider.stats.paid == 30
    await quotas.close()


async def test_spend_never_passes_the_cap_of_a_job(
    provider: LLMServer, make_chat: MakeChat, ledger: list[PaidCall], store: Redis
) -> None:
    quotas = CallQuotas(store, QuotaLimits())
    chat = make_chat(quotas=quotas)

    outcomes = await asyncio.gather(
        *(ask(chat, spend_cap_usd=0.02) for _ in range(60)), return_exceptions=True
    )

    spent = sum(line.cost_usd or 0 for line in ledger)
    assert 0 < spent <= 0.02
    assert any(isinstance(outcome, errors.BudgetExceeded) for outcome in outcomes)


async def test_after_ten_failures_the_provider_is_left_alone(
    provider: LLMServer, make_chat: MakeChat, store: Redis
) -> None:
    breaker = CircuitBreaker(store, base_url=provider.base_url, model="m")
    chat = make_chat(breaker=breaker)
    provider.play("503", count=50)
    for _ in range(3):
        with pytest.raises(errors.LLMUnavailable):
            await ask(chat)
    asked = provider.stats.requests

    with pytest.raises(errors.LLMUnavailable) as caught:
        await ask(chat)

    assert asked == provider.stats.requests == 10
    assert caught.value.retry_after_s == 30


async def test_one_probe_closes_the_breaker_again(
    provider: LLMServer, make_chat: MakeChat, store: Redis
) -> None:
    rules = BreakerRules(failures_in_a_row=2, open_s=0.05)
    chat = make_chat(breaker=CircuitBreaker(store, base_url=provider.base_url, model="m", rules=rules))
    provider.play("503", count=2)
    with pytest.raises(errors.LLMUnavailable):
        await ask(chat)
    await asyncio.sleep(0.1)

    first = await ask(chat)
    second = await ask(chat)

    assert (first.attempts, second.attempts) == (1, 1)


async def test_a_rejected_key_opens_the_breaker_at_once(
    provider: LLMServer, make_chat: MakeChat, store: Redis
) -> None:
    chat = make_chat(breaker=CircuitBreaker(store, base_url=provider.base_url, model="m"))
    provider.play("401")
    with pytest.raises(errors.Misconfigured):
        await ask(chat)

    with pytest.raises(errors.LLMUnavailable):
        await ask(chat)

    assert provider.stats.requests == 1


async def test_without_the_store_calls_go_on(
    provider: LLMServer, make_chat: MakeChat, dead_store: Redis
) -> None:
    quotas = CallQuotas(dead_store, QuotaLimits(requests_per_minute=60, max_inflight=1))
    breaker = CircuitBreaker(dead_store, base_url=provider.base_url, model="m")

    answers = await asyncio.gather(*(ask(make_chat(quotas=quotas, breaker=breaker)) for _ in range(5)))

    assert all(answer.attempts == 1 for answer in answers)


async def test_an_answer_in_the_background_survives_faults_of_looking_at_it(
    provider: LLMServer, make_chat: MakeChat
) -> None:
    provider.play("ok", missed_polls=1, latency_ms=10)

    answer = await ask(make_chat(recoverable=True, policy=PATIENT), journal=MemoryJournal())

    assert len(answer.value["summary_bullets"]) == 4
    assert (answer.attempts, provider.stats.requests, provider.stats.paid) == (1, 1, 1)


async def test_an_answer_in_the_background_that_is_given_up_is_asked_for_again(
    provider: LLMServer, make_chat: MakeChat
) -> None:
    provider.play("failed")

    answer = await ask(make_chat(recoverable=True, policy=PATIENT), journal=MemoryJournal())

    assert (answer.attempts, provider.stats.requests) == (2, 2)


async def test_an_answer_in_the_background_that_takes_too_long_is_stopped(
    provider: LLMServer, make_chat: MakeChat
) -> None:
    provider.play("ok", latency_ms=60_000)
    provider.play("ok", latency_ms=0)
    journal = MemoryJournal()

    answer = await ask(
        make_chat(recoverable=True, policy=replace(PATIENT, attempt_timeout_s=0.4)), journal=journal
    )

    assert (answer.attempts, provider.stats.requests) == (2, 2)
    assert provider.stats.stopped == 1


class Settled(Unlimited):
    def __init__(self) -> None:
        self.reserved = self.settled = 0

    async def reserve(self, **_demand: object) -> Settled:
        self.reserved += 1
        return self

    async def settle(self, *, tokens: int, usd: float) -> None:
        self.settled += 1


async def test_a_canceled_wait_leaves_the_call_and_its_reservation(
    provider: LLMServer, make_chat: MakeChat, ledger: list[PaidCall]
) -> None:
    provider.configure(latency_ms=700)
    journal, quotas = MemoryJournal(), Settled()
    first = asyncio.create_task(
        ask(make_chat(recoverable=True, quotas=quotas, policy=PATIENT), journal=journal)
    )
    while not provider.stats.watched:  # noqa: ASYNC110 - the fake has no event for it
        await asyncio.sleep(0.01)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    answer = await ask(make_chat(recoverable=True, quotas=quotas, policy=PATIENT), journal=journal)

    assert answer.attempts == 1
    assert provider.stats.requests == 1
    assert (quotas.reserved, quotas.settled) == (1, 0)
    assert [call.kept for call in ledger] == [True]
