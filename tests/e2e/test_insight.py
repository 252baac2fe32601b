"""The insight tool over HTTP, without a language model."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx2
import pytest

from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request, text_request
from tests.running import RunningStack

PATH = "/max_tools/create_and_query_insight/"
LONG_S = 30.0


def ask(client: httpx2.Client, question: str, **members: Any) -> httpx2.Response:
    return client.post(PATH, json={"query": question, "insight_type": "trends", **members})


def result(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()[1]["data"]
    return found


@pytest.fixture(scope="module")
def rendered(client: httpx2.Client) -> int:
    """The number of text jobs of the project, once their rows are written."""
    for place in range(3):
        body = text_request(data={"id": f"insight-{place}", "properties": {"$ai_input": f"text {place}"}})
        assert client.post(TEXT_REPR, json=body).status_code == 200
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        count = int(client.get("/jobs/", params={"kind": "text_repr", "state": "succeeded"}).json()["count"])
        if count >= 3:
            return count
        time.sleep(0.1)
    raise AssertionError("the rows of the jobs are not written")


def test_the_answer_has_its_three_members(client: httpx2.Client, rendered: int) -> None:
    question = "how many text repr jobs by state"

    answer = ask(client, question)

    plan, found, sentence = answer.json()
    assert (plan["type"], found["type"], sentence["type"]) == ("message", "result", "message")
    assert list(plan["data"]) == ["type", "id", "query", "plan", "answer"]
    assert plan["data"]["query"] == question
    assert plan["data"]["answer"] == found["data"]["query"]
    assert found["data"]["columns"] == ["state", "value"]
    assert found["data"]["rows"] == [["succeeded", rendered]]
    assert found["data"]["row_count"] == 1
    assert found["data"]["engine"] == "keyword"
    assert found["data"]["warnings"] == []
    assert "sql" not in found["data"]
    assert str(rendered) in sentence["data"]["content"]


def test_a_statement_is_shown_for_sql_with_bound_values(client: httpx2.Client, rendered: int) -> None:
    found = result(ask(client, "how many text repr jobs", insight_type="sql"))

    assert found["rows"] == [[rendered]]
    assert "text_repr" in found["parameters"].values()
    assert "'text_repr'" not in found["sql"]


def test_a_question_that_is_repeated_with_its_key_is_answered_once(
    client: httpx2.Client, rendered: int
) -> None:
    key = {"Idempotency-Key": f"insight-{uuid.uuid4()}"}
    body = {"query": "how many text repr jobs", "insight_type": "trends"}

    refused = client.post(PATH, json={**body, "query": ""}, headers=key)
    first, again = (client.post(PATH, json=body, headers=key) for _ in range(2))
    other = client.post(PATH, json={**body, "insight_type": "sql"}, headers=key)

    assert (refused.status_code, result(first)["rows"]) == (400, [[rendered]])
    assert "idempotent-replayed" not in first.headers
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_another_project_counts_its_own(stack: RunningStack, rendered: int) -> None:
    with stack.client("other_project") as stranger:
        mine = f"{stack.url}/api/environments/{stack.projects['main']}{PATH}"
        body = {"query": "how many text repr jobs", "insight_type": "trends"}
        assert stranger.post(mine, json=body).status_code in (403, 404)
        own = f"{stack.url}/api/environments/{stack.projects['other']}{PATH}"
        assert result(stranger.post(own, json=body))["rows"] == [[0]]


def test_words_that_were_ignored_are_told(client: httpx2.Client) -> None:
    assert "purple" in result(ask(client, "how many purple jobs"))["warnings"][0]


@pytest.mark.parametrize("question", ["Tell me a joke", "why did jobs fail", "forecast errors of tomorrow"])
def test_what_the_data_cannot_answer_is_refused_with_questions_that_work(
    client: httpx2.Client, question: str
) -> None:
    answer = ask(client, question)

    body = answer.json()
    assert answer.status_code == 400
    assert list(body) == ["type", "code", "detail", "attr", "extra"]
    assert (body["type"], body["code"], body["attr"]) == ("validation_error", "unanswerable_query", "query")
    assert len(body["extra"]["suggestions"]) == 3


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE jobs; --", '" OR 1=1 --', "{p0:String}", "%' OR ''='", "\\", "`x`; SELECT 1"]
)
def test_sql_in_a_question_is_only_text(client: httpx2.Client, rendered: int, text: str) -> None:
    assert ask(client, f"how many text repr jobs {text}").status_code == 200

    assert result(ask(client, "how many text repr jobs"))["rows"] == [[rendered]]


def test_both_scopes_are_needed(stack: RunningStack) -> None:
    for key, status in (("insight_only", 403), ("query_only", 403), ("insight_query", 200)):
        with stack.client(key) as caller:
            assert ask(caller, "how many jobs").status_code == status


def test_the_job_of_a_question_can_be_asked_for(client: httpx2.Client, rendered: int) -> None:
    promised = client.post(
        PATH,
        json={"query": "how many text repr jobs", "insight_type": "trends"},
        headers={"Prefer": "respond-async"},
    )

    assert promised.status_code == 202
    job = client.get(f"/jobs/{promised.json()['id']}/", params={"wait": "30"}).json()
    assert (job["kind"], job["state"]) == ("insight", "succeeded")
    kept = client.get(f"/jobs/{job['id']}/result/")
    assert kept.json()[1]["data"]["rows"] == [[rendered]]


def test_answered_summaries_are_counted_with_the_cached_ones(client: httpx2.Client) -> None:
    body = summary_request()
    for _ in range(2):
        assert client.post(SUMMARIZATION, json=body).status_code == 200

    deadline = time.monotonic() + LONG_S
    counted: dict[str, int] = {}
    while counted != {"miss": 1, "hit": 1} and time.monotonic() < deadline:
        rows = result(ask(client, "how many summaries by status in the last 10 minutes"))["rows"]
        counted = {row[0]: row[1] for row in rows}
        time.sleep(0.2)

    assert counted == {"miss": 1, "hit": 1}
