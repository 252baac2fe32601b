"""Requests and results of the batch interface: split into files, written, matched by id, priced."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.llm.calls import GOOD, PRICE, PROMPT, MemoryJournal, Provider, ask, completion
from workers.llm.batch_lines import (
    Deferred,
    PrepaidJournal,
    RequestTaker,
    read_result,
    request_line,
    row_id,
    split,
)
from workers.llm.model import CallScope
from workers.llm.prices import Price
from workers.llm.wire import Profile


@dataclass(frozen=True)
class Sized:
    model: str
    size: int
    number: int = 0


@dataclass(frozen=True)
class Chat:
    name: str = "some-model"
    profile: Profile = "openai"
    price: Price | None = PRICE


def result(position: int, *, status: int = 200, **members: Any) -> bytes:
    response = {"status_code": status, "body": {"position": position}}
    return orjson.dumps(
        {"custom_id": row_id("job", position), "response": response, "error": None, **members}
    )


@given(
    st.lists(st.builds(Sized, st.sampled_from("ab"), st.integers(1, 60), st.integers())),
    st.integers(1, 5),
    st.integers(60, 100),
)
def test_files_hold_everything_once_within_their_limits(
    requests: list[Sized], most_requests: int, most_bytes: int
) -> None:
    files = list(split(requests, most_requests=most_requests, most_bytes=most_bytes))

    for model in "ab":
        sent = [one for file in files for one in file if one.model == model]
        assert sent == [one for one in requests if one.model == model]
    for file in files:
        assert 0 < len(file) <= most_requests
        assert sum(one.size for one in file) <= most_bytes
        assert len({one.model for one in file}) == 1


def test_limits_are_those_of_the_provider() -> None:
    many = [Sized("a", 1)] * 50_001
    large = [Sized("a", 50_000_000)] * 5

    assert [len(file) for file in split(many)] == [50_000, 1]
    assert [len(file) for file in split(large)] == [4, 1]


def test_results_are_matched_by_id_in_any_order() -> None:
    lines = [result(number) for number in range(50)]
    random.Random(4).shuffle(lines)

    found = dict(filter(None, (read_result(line, job_id="job") for line in lines)))

    assert found == {number: orjson.dumps({"position": number}) for number in range(50)}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        result(1, status=500),
        result(1, response=None, error={"code": "batch_expired"}),
        result(1, custom_id="other:1"),
        result(1, custom_id="job:x"),
        result(1, custom_id="job:-1"),
        result(1, custom_id=7),
        result(1, response={"status_code": 200, "body": "text"}),
    ],
)
def test_line_that_is_no_answer_of_the_job_is_left_out(line: bytes) -> None:
    assert read_result(line, job_id="job") is None


def test_request_is_that_of_a_call_at_half_its_bound() -> None:
    scope = CallScope(1, "job", on_demand=False, deadline=time.monotonic() + 1)
    provider = Provider([completion()])
    ask(provider)

    with pytest.raises(Deferred) as caught:
        asyncio.run(RequestTaker(Chat()).ask(PROMPT, str, scope=scope))

    line = orjson.loads(request_line("job", 3, caught.value.body))
    assert (line["custom_id"], line["method"], line["url"]) == ("job:3", "POST", "/v1/chat/completions")
    assert line["body"] | {"model": ""} == provider.requests[0] | {"model": ""}
    assert caught.value.line_bytes >= len(request_line("job", 3, caught.value.body))
    whole = (500 + 60 + len(orjson.dumps(PROMPT.schema)) + 4 * 1200) / 1e6
    assert caught.value.most_usd == pytest.approx(whole / 2)


def test_answer_of_a_batch_is_read_without_a_call_at_half_the_price() -> None:
    journal = MemoryJournal()
    provider = Provider([])

    answer = ask(provider, journal=PrepaidJournal(completion().content, journal))

    assert (answer.value, answer.attempts) == (GOOD, 1)
    assert answer.cost_usd == pytest.approx((600 * 1.0 + 400 * 0.25 + 50 * 4.0) / 2e6)


def test_unusable_answer_of_a_batch_is_repaired_by_a_call_at_the_full_price() -> None:
    journal = MemoryJournal()
    provider = Provider([completion()])

    answer = ask(provider, journal=PrepaidJournal(completion("no").content, journal))

    assert (answer.value, answer.attempts) == (GOOD, 2)
    assert answer.cost_usd == pytest.approx((600 * 1.0 + 400 * 0.25 + 50 * 4.0) * 1.5 / 1e6)
    assert [call.attempt for call in provider.ledger] == [2]
