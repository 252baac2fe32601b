"""Delays, accounting, the journal, and the fields that are sent."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import httpx2
import pytest

from tests.unit.llm.calls import (
    GOOD,
    PRICE,
    PROMPT,
    MemoryJournal,
    Provider,
    accept,
    ask,
    completion,
    failure,
)
from workers.llm import errors
from workers.llm.limits import Unlimited
from workers.llm.prices import Price


def test_the_delay_of_the_server_wins_over_ours() -> None:
    provider = Provider([failure(429, retry_after="7.5"), failure(503, retry_after_ms="1250"), completion()])

    ask(provider)

    assert provider.sleeps == [7.5, 1.25]


def test_a_delay_may_be_a_date() -> None:
    provider = Provider([failure(503, retry_after=formatdate(time.time() + 20)), completion()])

    ask(provider)

    assert 15 < provider.sleeps[0] <= 20


def test_without_a_told_delay_the_backoff_is_full_jitter() -> None:
    provider = Provider([failure(503), failure(503), failure(503), completion()])

    ask(provider)

    assert all(0 <= slept <= limit for slept, limit in zip(provider.sleeps, (0.5, 1, 2), strict=True))


def test_a_delay_longer_than_the_time_left_ends_it_with_that_delay() -> None:
    provider = Provider([failure(429, retry_after="90.2")])

    with pytest.raises(errors.LLMUnavailable) as caught:
        ask(provider, seconds=30)

    assert (caught.value.retry_after_s, provider.sleeps) == (91, [])


def test_no_request_is_made_after_the_deadline() -> None:
    provider = Provider([])

    with pytest.raises(errors.LLMTimeout) as caught:
        ask(provider, seconds=0)

    assert caught.value.attempts == 0


def test_usage_and_cost_of_all_paid_attempts_are_summed() -> None:
    provider = Provider([completion("nonsense"), completion()])

    answer = ask(provider)

    one = (600 * PRICE.input + 400 * 0.25 + 50 * PRICE.output) / 1e6
    assert answer.usage.total_tokens == 2100
    assert answer.usage.cached_prompt_tokens == 800
    assert answer.cost_usd == pytest.approx(2 * one)
    assert [(line.attempt, line.kept) for line in provider.ledger] == [(1, False), (2, True)]
    assert [line.cost_usd for line in provider.ledger] == pytest.approx([one, one])


def test_a_model_without_a_price_has_no_cost() -> None:
    provider = Provider([completion()])

    assert ask(provider, price=None).cost_usd is None
    assert provider.ledger[0].cost_usd is None


def test_the_model_of_the_answer_is_reported() -> None:
    assert ask(Provider([completion()])).model == "gpt-4.1-mini-2025-04-14"


def test_a_truncated_answer_is_asked_for_again_with_twice_the_cap() -> None:
    provider = Provider([completion("{", finish_reason="length"), completion()])

    ask(provider)

    assert [request["max_completion_tokens"] for request in provider.requests] == [1200, 2400]


def test_a_journaled_answer_is_used_without_a_call_or_a_second_booking() -> None:
    journal, first, second = MemoryJournal(), Provider([completion()]), Provider([])
    ask(first, journal=journal)

    answer = ask(second, journal=journal)

    assert answer.value == GOOD
    assert answer.usage.total_tokens == 1050
    assert (answer.attempts, second.requests, second.ledger) == (1, [], [])


def test_after_a_journaled_bad_answer_one_attempt_is_left() -> None:
    journal, first = MemoryJournal(), Provider([completion("nonsense"), completion("nonsense")])
    with pytest.raises(errors.BadResponse):
        ask(first, journal=journal)
    del journal.entries[2]
    second = Provider([completion("nonsense"), completion()])

    with pytest.raises(errors.BadResponse) as caught:
        ask(second, journal=journal)

    assert len(second.requests) == 1
    assert [line.attempt for line in second.ledger] == [2]
    assert caught.value.attempts == 2


def test_a_journaled_refusal_is_refused_again_without_a_call() -> None:
    journal = MemoryJournal()
    with pytest.raises(errors.Refused):
        ask(Provider([completion(None, refusal="no")]), journal=journal)

    with pytest.raises(errors.Refused):
        ask(Provider([]), journal=journal)


def test_the_answer_is_in_the_journal_before_it_is_judged() -> None:
    journal = MemoryJournal()
    seen: list[int] = []

    def look(content: str) -> str:
        seen.append(len(journal.entries))
        return content

    ask(Provider([completion()]), journal=journal, accept=look)

    assert seen == [1]


def test_the_openai_profile_sends_a_strict_schema_and_its_own_fields() -> None:
    provider = Provider([completion()])

    ask(provider)

    sent = provider.requests[0]
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "user"]
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert (sent["temperature"], sent["store"], sent["prompt_cache_key"]) == (0, False, "key-1")
    assert "prompt_cache_options" not in sent
    assert "tools" not in sent


def test_other_providers_get_no_fields_of_openai_alone() -> None:
    provider = Provider([completion()])

    ask(provider, profile="compatible")

    assert set(provider.requests[0]) == {
        "model", "messages", "response_format", "max_completion_tokens", "temperature",
    }  # fmt: skip


def test_without_schema_support_the_schema_is_in_the_text() -> None:
    provider = Provider([completion()])

    ask(provider, profile="json_object")

    assert provider.requests[0]["response_format"] == {"type": "json_object"}
    assert '"title"' in provider.requests[0]["messages"][0]["content"]


def test_cache_writes_that_cost_extra_are_switched_off() -> None:
    provider = Provider([completion()])

    ask(provider, price=Price(input=1, output=4, cache_write=1.25))

    assert provider.requests[0]["prompt_cache_options"] == {"mode": "explicit"}


@pytest.mark.parametrize(
    ("name", "taken"),
    [("gpt-4.1-mini", True), ("o4-mini", False), ("gpt-5.6", False), ("gpt-5-chat-latest", True)],
)
def test_reasoning_models_get_no_temperature(name: str, *, taken: bool) -> None:
    provider = Provider([completion()])

    ask(provider, name=name)

    assert ("temperature" in provider.requests[0]) is taken


class _Blocked(Unlimited):
    def blocked_s(self) -> float:
        return 12.3


def test_an_open_breaker_answers_without_a_call() -> None:
    provider = Provider([])

    with pytest.raises(errors.LLMUnavailable) as caught:
        ask(provider, breaker=_Blocked())

    assert (caught.value.retry_after_s, caught.value.attempts) == (13, 0)


class _Told(Unlimited):
    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.settled: list[tuple[int, float]] = []

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def settle(self, *, tokens: int, usd: float) -> None:
        self.settled.append((tokens, usd))


def test_a_429_pauses_all_workers_for_the_told_time() -> None:
    quotas = _Told()

    ask(Provider([failure(429, retry_after="3"), completion()]), quotas=quotas)

    assert quotas.pauses == [3.0]


def test_an_answer_that_says_nothing_is_left_pauses_all_workers() -> None:
    quotas, last = _Told(), completion()
    last.headers["x-ratelimit-remaining-requests"] = "0"
    last.headers["x-ratelimit-reset-requests"] = "1m0.5s"

    ask(Provider([last]), quotas=quotas)

    assert quotas.pauses == [60.0]


def test_every_attempt_settles_what_it_reserved() -> None:
    quotas = _Told()

    ask(Provider([failure(503), completion()]), quotas=quotas, price=Price(input=1, output=1))

    assert quotas.settled == [(0, 0.0), (1050, pytest.approx(0.00105))]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [("rate", errors.OutOfQuota), ("budget", errors.BudgetExceeded), ("price", errors.Misconfigured)],
)
def test_a_refused_reservation_makes_no_call(refusal: str, error: type[errors.LLMError]) -> None:
    quotas = Unlimited()
    quotas.refusal = refusal  # type: ignore[assignment]
    quotas.retry_after_s = 4.2

    with pytest.raises(error) as caught:
        ask(Provider([]), quotas=quotas)

    assert caught.value.retry_after_s == (5 if refusal == "rate" else None)


def test_the_prompt_of_a_call_is_sent_as_it_is() -> None:
    provider = Provider([completion()])

    ask(provider)

    contents = [message["content"] for message in provider.requests[0]["messages"]]
    assert contents == [PROMPT.system, *PROMPT.messages]


def test_a_call_on_demand_takes_a_place_for_as_long_as_its_request() -> None:
    room = asyncio.Semaphore(1)
    taken: list[bool] = []

    def look(content: str) -> object:
        taken.append(room.locked())  # while an answer is judged the next request may go out
        return accept(content)

    def step() -> httpx2.Response:
        taken.append(room.locked())
        return completion()

    ask(Provider([step]), room=room, accept=look)

    assert taken == [True, False]
    assert not room.locked()


def test_a_call_that_failed_gives_its_place_back() -> None:
    room = asyncio.Semaphore(1)

    ask(Provider([failure(503), failure(429), completion()]), room=room)

    assert not room.locked()


def test_waiting_for_a_place_ends_with_the_time_of_the_call() -> None:
    provider = Provider([])

    with pytest.raises(errors.LLMTimeout) as caught:
        ask(provider, room=asyncio.Semaphore(0), seconds=0.05)

    assert (caught.value.attempts, provider.sent) == (0, [])
