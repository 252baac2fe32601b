"""Calls in the background: the id is kept first, and whoever has it waits for the same answer."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.unit.llm.calls import GOOD, PRICE, MemoryJournal, Provider, Step, ask, failure
from workers.llm import errors
from workers.llm.background import running_entry
from workers.llm.limits import Unlimited
from workers.llm.prices import Price

QUEUED = {"id": "resp_1", "object": "response", "status": "queued"}
WORKING = {"id": "resp_1", "object": "response", "status": "in_progress"}


def response(body: dict[str, Any]) -> httpx2.Response:
    return httpx2.Response(200, json=body)


def finished(*parts: dict[str, Any], **more: Any) -> httpx2.Response:
    """1,000 input tokens, 400 of them cached, and 50 output tokens, after some reasoning."""
    content = list(parts) or [{"type": "output_text", "text": '{"title": "A trace"}'}]
    body = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-4.1-mini-2025-04-14",
        "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": content}],
        "usage": {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 400},
            "output_tokens": 50,
            "total_tokens": 1050,
        },
    }
    return response({**body, **more})


def ended(status: str, code: str | None = None) -> httpx2.Response:
    error = None if code is None else {"code": code, "message": "secret words of the provider"}
    return response({"id": "resp_1", "object": "response", "status": status, "error": error})


def asked(*steps: Step, journal: MemoryJournal | None = None, **options: Any) -> tuple[Any, Provider]:
    provider = Provider(list(steps))
    journal = MemoryJournal() if journal is None else journal
    return ask(provider, journal=journal, recoverable=True, **options), provider


def test_an_answer_is_waited_for_by_its_id() -> None:
    answer, provider = asked(response(QUEUED), response(WORKING), finished())

    assert [(sent.method, sent.path) for sent in provider.sent] == [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1"),
    ]
    assert (answer.value, answer.attempts, answer.model) == (GOOD, 1, "gpt-4.1-mini-2025-04-14")
    assert (answer.usage.prompt_tokens, answer.usage.cached_prompt_tokens) == (1000, 400)
    assert answer.cost_usd == pytest.approx((600 * PRICE.input + 400 * 0.25 + 50 * PRICE.output) / 1e6)
    assert [(line.attempt, line.kept) for line in provider.ledger] == [(1, True)]


def test_the_request_is_kept_by_the_provider_and_has_the_same_content() -> None:
    _, provider = asked(response(QUEUED), finished())

    sent = provider.requests[0]
    assert (sent["background"], sent["store"], sent["temperature"]) == (True, True, 0)
    assert [message["role"] for message in sent["input"]] == ["system", "user", "user"]
    assert sent["text"]["format"]["strict"] is True
    assert (sent["max_output_tokens"], sent["prompt_cache_key"]) == (1200, "key-1")


def test_the_id_is_in_the_journal_before_it_is_waited_for() -> None:
    journal = MemoryJournal()

    with pytest.raises(RuntimeError):
        asked(response(QUEUED), RuntimeError("the worker is killed here"), journal=journal)

    assert journal.entries == {1: running_entry("resp_1")}


def test_a_successor_goes_on_waiting_and_makes_no_call() -> None:
    journal = MemoryJournal({1: running_entry("resp_1")})

    answer, provider = asked(response(WORKING), finished(), journal=journal)

    assert {sent.method for sent in provider.sent} == {"GET"}
    assert (answer.value, answer.attempts) == (GOOD, 1)
    assert [(line.attempt, line.kept) for line in provider.ledger] == [(1, True)]
    assert journal.entries[1].endswith(b"}")


def test_a_successor_without_the_setting_goes_on_waiting_too() -> None:
    journal = MemoryJournal({1: running_entry("resp_1")})
    provider = Provider([finished()])

    answer = ask(provider, journal=journal)

    assert (answer.value, [sent.method for sent in provider.sent]) == (GOOD, ["GET"])


def test_a_successor_that_finds_an_unusable_answer_asks_once_more() -> None:
    journal = MemoryJournal({1: running_entry("resp_1")})
    useless = finished({"type": "output_text", "text": "nonsense"})

    answer, provider = asked(useless, response(QUEUED), finished(), journal=journal)

    assert answer.attempts == 2
    assert [(line.attempt, line.kept) for line in provider.ledger] == [(1, False), (2, True)]


@pytest.mark.parametrize("lost", [failure(404), ended("cancelled"), ended("failed", "server_error")])
def test_an_answer_that_will_never_come_is_asked_for_again(lost: httpx2.Response) -> None:
    journal = MemoryJournal({1: running_entry("resp_0")})

    answer, provider = asked(lost, response(QUEUED), finished(), journal=journal)

    assert [sent.method for sent in provider.sent] == ["GET", "POST", "GET"]
    assert (answer.value, answer.attempts) == (GOOD, 2)


def test_a_look_that_fails_is_no_reason_to_ask_again() -> None:
    looks = failure(503), httpx2.ConnectError("reset"), failure(429, retry_after="3")

    answer, provider = asked(response(QUEUED), *looks, finished())

    assert [sent.method for sent in provider.sent] == ["POST", "GET", "GET", "GET", "GET"]
    assert answer.attempts == 1
    assert provider.sleeps[-1] == 3


def test_an_answer_cut_off_is_asked_for_with_twice_the_cap() -> None:
    cut = finished(
        {"type": "output_text", "text": "{"},
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )

    _, provider = asked(response(QUEUED), cut, response(QUEUED), finished())

    assert [sent["max_output_tokens"] for sent in provider.requests] == [1200, 2400]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (finished({"type": "refusal", "refusal": "no"}), errors.Refused),
        (
            finished(status="incomplete", incomplete_details={"reason": "content_filter"}, output=[]),
            errors.Refused,
        ),
        (ended("failed", "invalid_prompt"), errors.Rejected),
        (ended("failed", "context_length_exceeded"), errors.ContextTooLong),
    ],
)
def test_permanent_ends_are_not_asked_again(answer: httpx2.Response, error: type[Exception]) -> None:
    with pytest.raises(error):
        asked(response(QUEUED), answer)


def test_a_request_that_is_refused_at_once_is_handled_like_any_other() -> None:
    answer, provider = asked(failure(503), response(QUEUED), finished())

    assert [sent.method for sent in provider.sent] == ["POST", "POST", "GET"]
    assert answer.attempts == 2


def test_a_question_without_a_journal_is_asked_the_usual_way() -> None:
    provider = Provider([failure(401)])

    with pytest.raises(errors.Misconfigured):
        ask(provider, recoverable=True)

    assert provider.sent[0].path == "/v1/chat/completions"


class _Told(Unlimited):
    def __init__(self) -> None:
        self.reserved = 0
        self.settled: list[tuple[int, float]] = []

    async def reserve(self, **_demand: object) -> _Told:
        self.reserved += 1
        return self

    async def settle(self, *, tokens: int, usd: float) -> None:
        self.settled.append((tokens, usd))


def test_a_finished_call_settles_what_it_reserved() -> None:
    quotas = _Told()

    asked(response(QUEUED), finished(), quotas=quotas, price=Price(input=1, output=1))

    assert quotas.settled == [(1050, pytest.approx(0.00105))]


def test_a_resumed_call_reserves_nothing_as_its_first_owner_did() -> None:
    quotas = _Told()

    asked(finished(), journal=MemoryJournal({1: running_entry("resp_1")}), quotas=quotas)

    assert (quotas.reserved, quotas.settled) == (0, [])
