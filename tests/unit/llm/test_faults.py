"""The table of what can go wrong, row by row: how often the provider is asked, and what the caller gets."""

from __future__ import annotations

import traceback

import httpx2
import pytest

from tests.unit.llm.calls import GOOD, Provider, Step, ask, completion, failure
from workers.llm import errors

TRANSIENT: dict[str, Step] = {
    "rate limit": failure(429, "rate_limit_exceeded"),
    "500": failure(500),
    "502": failure(502),
    "503": failure(503),
    "504": failure(504),
    "408": failure(408),
    "409": failure(409),
    "no answer in time": httpx2.ReadTimeout("slow"),
    "connection refused": httpx2.ConnectError("refused"),
    "connection reset": httpx2.ReadError("reset"),
    "body cut short": httpx2.RemoteProtocolError("incomplete"),
    "body is not JSON": httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}),
    "html": httpx2.Response(200, html="<html></html>"),
    "no choices": httpx2.Response(200, json={"model": "m", "choices": []}),
    "null content": completion(None),
    "empty content": completion("  "),
    "invalid JSON in the content": completion('{"title": '),
    "wrong shape": completion({"points": []}),
    "truncated": completion('{"title": "A', finish_reason="length"),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_one_transient_fault_is_followed_by_a_second_attempt(name: str) -> None:
    provider = Provider([TRANSIENT[name], completion()])

    answer = ask(provider)

    assert answer.value == GOOD
    assert answer.attempts == 2
    assert len(provider.requests) == 2


PERMANENT: dict[str, tuple[Step, type[errors.LLMError], int, str]] = {
    "quota": (failure(429, "insufficient_quota"), errors.Misconfigured, 503, "llm_misconfigured"),
    "400": (failure(400), errors.Rejected, 502, "llm_rejected"),
    "422": (failure(422), errors.Rejected, 502, "llm_rejected"),
    "window": (failure(400, "context_length_exceeded"), errors.ContextTooLong, 502, "llm_rejected"),
    "401": (failure(401, "invalid_api_key"), errors.Misconfigured, 503, "llm_misconfigured"),
    "403": (failure(403), errors.Misconfigured, 503, "llm_misconfigured"),
    "404": (failure(404, "model_not_found"), errors.Misconfigured, 503, "llm_misconfigured"),
    "filter": (completion(None, finish_reason="content_filter"), errors.Refused, 502, "llm_refused"),
    "refusal": (completion(None, refusal="I cannot."), errors.Refused, 502, "llm_refused"),
}


@pytest.mark.parametrize("name", PERMANENT)
def test_a_permanent_fault_ends_it_at_once(name: str) -> None:
    step, error, status, code = PERMANENT[name]
    provider = Provider([step])

    with pytest.raises(error) as caught:
        ask(provider)

    body = caught.value.body()
    assert (caught.value.status, body["code"], body["type"]) == (status, code, "server_error")
    assert (body["error"], body["attempts"]) == ("Failed to generate summary", 1)


def test_what_the_provider_wrote_reaches_neither_the_caller_nor_a_traceback() -> None:
    provider = Provider([failure(401, "invalid_api_key")])

    with pytest.raises(errors.Misconfigured) as caught:
        ask(provider)

    assert "secret words" not in str(caught.value.body())
    assert "secret words" not in "".join(traceback.format_exception(caught.value))


def test_server_errors_are_tried_four_times_then_unavailable() -> None:
    provider = Provider([failure(503) for _ in range(9)])

    with pytest.raises(errors.LLMUnavailable) as caught:
        ask(provider)

    assert (caught.value.attempts, len(provider.requests)) == (4, 4)


def test_timeouts_to_the_end_are_a_timeout() -> None:
    provider = Provider([httpx2.ReadTimeout("slow") for _ in range(9)])

    with pytest.raises(errors.LLMTimeout):
        ask(provider)


def test_unusable_content_is_paid_for_twice_at_most() -> None:
    provider = Provider([completion("nonsense") for _ in range(9)])

    with pytest.raises(errors.BadResponse) as caught:
        ask(provider)

    assert len(provider.requests) == 2
    assert caught.value.usage.total_tokens == 2100
    assert [line.kept for line in provider.ledger] == [False, False]


def test_a_message_about_the_context_counts_where_the_code_is_missing() -> None:
    body = {"error": {"message": "This model's maximum context length is 8192 tokens", "code": None}}
    provider = Provider([httpx2.Response(400, json=body)])

    with pytest.raises(errors.ContextTooLong):
        ask(provider)


def test_a_server_that_forbids_retries_is_obeyed() -> None:
    provider = Provider([failure(503, x_should_retry="false")])

    with pytest.raises(errors.LLMUnavailable):
        ask(provider)

    assert len(provider.requests) == 1


def test_a_server_that_asks_for_a_retry_is_obeyed() -> None:
    provider = Provider([failure(400, x_should_retry="true"), completion()])

    assert ask(provider).attempts == 2


def test_a_fault_of_ours_is_not_dressed_up_as_one_of_the_provider() -> None:
    def broken(_content: str) -> None:
        raise KeyError("ours")

    provider = Provider([completion()])

    with pytest.raises(KeyError):
        ask(provider, accept=broken)

    assert [line.kept for line in provider.ledger] == [False]


def _subclasses(kind: type[errors.LLMError]) -> list[type[errors.LLMError]]:
    return [found for sub in kind.__subclasses__() for found in (sub, *_subclasses(sub))]


@pytest.mark.parametrize("error", _subclasses(errors.LLMError))
def test_every_failure_says_what_happened_and_what_to_do(error: type[errors.LLMError]) -> None:
    what, then = str(error().body()["detail"]).split(". ")

    assert what
    assert then.endswith(".")
