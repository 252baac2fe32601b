"""The insight tool with a language model: its queries are checked, and it may be away."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from tests.e2e.provider import Provider, provider, provider_settings
from tests.e2e.test_insight import ask, result

QUERY: dict[str, Any] = {
    "kind": "InsightQuery",
    "reason": None,
    "source": "jobs",
    "metric": {"op": "count", "field": None},
    "filters": [{"field": "kind", "op": "eq", "value": "insight"}],
    "breakdowns": [{"field": "state", "limit": 10}],
    "interval": None,
    "date_range": {"date_from": "-1h", "date_to": None},
    "order": "desc",
    "limit": 100,
    "chart": "bar",
}


def answers(**changes: Any) -> dict[str, object]:
    return {"behaviour": "ok", "content": json.dumps({**QUERY, **changes})}


@pytest.fixture(scope="module")
def llm() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(llm: Provider) -> Mapping[str, str]:
    return provider_settings(llm, TRACEGIST_LLM_MAX_ATTEMPTS="2")


@pytest.fixture(autouse=True)
def _fresh(llm: Provider) -> None:
    llm.reset()
    llm.configure(keep_prompts=5)


def test_the_query_of_the_model_is_run(client: httpx2.Client, llm: Provider) -> None:
    llm.script(answers())

    answer = ask(client, "what became of the questions?")

    found = result(answer)
    assert (found["engine"], found["warnings"]) == ("llm", [])
    assert answer.json()[0]["data"]["answer"] == {name: QUERY[name] for name in QUERY if name != "reason"}
    assert found["columns"] == ["state", "value"]
    sent = llm.stats()["prompts"][0]
    assert sent["temperature"] == 0
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert "<question>" in sent["messages"][1]["content"]


def test_a_repair_turn_shows_the_model_its_answer_and_the_faults(
    client: httpx2.Client, llm: Provider
) -> None:
    llm.script(answers(source="events"), answers())

    assert result(ask(client, "what became of the questions?"))["engine"] == "llm"

    repair = llm.stats()["prompts"][1]["messages"][-1]["content"]
    assert '"events"' in repair
    assert "source must be one of" in repair


def test_answers_that_stay_invalid_are_given_up_after_two_repairs(
    client: httpx2.Client, llm: Provider
) -> None:
    llm.script({"behaviour": "ok", "content": "SELECT * FROM jobs", "count": 5})

    answer = ask(client, "what became of the questions?")

    assert (answer.status_code, answer.json()["code"]) == (400, "unanswerable_query")
    assert answer.json()["extra"]["attempts"] == 3
    assert llm.stats()["requests"] == 3


def test_sql_in_an_answer_of_the_model_is_only_a_value(client: httpx2.Client, llm: Provider) -> None:
    text = "x' OR 1=1; DROP TABLE jobs; --"
    llm.script(answers(filters=[{"field": "kind", "op": "eq", "value": text}], breakdowns=[]))

    assert result(ask(client, "what became of the questions?"))["rows"] == [[0]]

    field = {"field": f"kind) {text}", "op": "eq", "value": "x"}
    llm.script({**answers(filters=[field]), "count": 3})
    assert ask(client, "what became of the questions?").status_code == 400


def test_while_the_model_is_away_the_keywords_are_read(client: httpx2.Client, llm: Provider) -> None:
    llm.configure(behaviour="503")

    found = result(ask(client, "how many insight jobs by state"))
    assert found["engine"] == "keyword"
    assert "language model" in found["warnings"][0]

    answer = ask(client, "what became of the questions?")
    assert (answer.status_code, answer.json()["code"]) == (503, "llm_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
