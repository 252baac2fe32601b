"""Bulk summaries over HTTP: what is taken in, how it runs, what comes out, and who may have it."""

from __future__ import annotations

import gzip
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import func, select

from storage.models import BulkItem, BulkJob, SummaryRow
from storage.session import make_engine
from tests.e2e.listening import listen
from tests.e2e.matching import error_faults
from tests.e2e.payloads import SUMMARIZATION, event, summary_request
from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack

BULK = "/llm_analytics/summarization/bulk/"
NDJSON = {"Content-Type": "application/x-ndjson"}
MOST_ITEMS = 120
MOST_BYTES = 1_000_000
LONGEST_LINE = 200_000
ROW = ["index", "custom_id", "status", "body", "error", "cached", "attempts", "duration_ms"]


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return provider_settings(
        fake,
        TRACEGIST_BULK_MAX_ITEMS=str(MOST_ITEMS),
        TRACEGIST_BULK_MAX_BYTES=str(MOST_BYTES),
        TRACEGIST_MAX_BODY_BYTES=str(LONGEST_LINE),
        TRACEGIST_BULK_CHUNK="8",
    )


@pytest.fixture(autouse=True)
def _well_behaved(fake: Provider) -> None:
    fake.reset()


def line(**members: Any) -> dict[str, Any]:
    return {**summary_request(), **members}


def ndjson(items: list[Any]) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in items)


def post(
    client: httpx2.Client, items: list[Any] | bytes, query: str = "", headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    content = items if isinstance(items, bytes) else ndjson(items)
    return client.post(f"{BULK}{query}", content=content, headers={**NDJSON, **(headers or {})})


def accepted(client: httpx2.Client, items: list[Any], query: str = "") -> dict[str, Any]:
    answer = post(client, items, query)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["links"]["self"]
    return job


def ended(client: httpx2.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 80
    while True:
        found: dict[str, Any] = client.get(f"/jobs/{job['id']}/?wait=20").json()
        if found["state"] not in ("queued", "running"):
            return found
        assert time.monotonic() < deadline, found


def finished_single(client: httpx2.Client) -> dict[str, Any]:
    return ended(client, client.post(SUMMARIZATION, json=line(), headers={"Prefer": "respond-async"}).json())


def rows_of(client: httpx2.Client, job: Mapping[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/jobs/{job['id']}/results/{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(text) for text in answer.text.splitlines()]


def run(
    client: httpx2.Client, items: list[Any], query: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    job = ended(client, accepted(client, items, query))
    return job, rows_of(client, job)


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def stored_items(stack: RunningStack) -> Counter[str]:
    """How many items the database holds for each job."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            counted = select(BulkItem.job_id, func.count()).group_by(BulkItem.job_id)
            found = Counter[str]()
            for job_id, count in connection.execute(counted):
                found[job_id] = count
            for job_id in connection.scalars(select(BulkJob.job_id)):
                found[job_id] += 0
            return found
    finally:
        engine.dispose()


def noted_since(stack: RunningStack, began: datetime) -> list[tuple[str, bool, bool]]:
    """Status, cached, and whether tokens were counted, for each answer since then."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            chosen = select(SummaryRow.status, SummaryRow.cached, SummaryRow.total_tokens > 0)
            rows = connection.execute(chosen.where(SummaryRow.created_at >= began))
            return sorted((status, cached, bool(paid)) for status, cached, paid in rows)
    finally:
        engine.dispose()


# in ---------------------------------------------------------------------------------------------------


def test_bad_items_fail_and_the_others_do_not(client: httpx2.Client) -> None:
    items = [
        line(custom_id="a"),
        b"{",
        b"",
        line(mode="short", custom_id="b"),
        [1],
        line(custom_id="a"),
        b'{"summarize_type": "event", "data": {"event": {"id": "x", "more": "'
        + b"y" * LONGEST_LINE
        + b'"}}}',
        {},
        line(custom_id="x" * 129),
        line(data={"event": {"id": {}}}),
    ]

    job, rows = run(client, items)

    assert (job["state"], job["partial_failure"], job["result_status"]) == ("succeeded", True, 200)
    assert [list(row) for row in rows] == [ROW] * 9
    assert [(row["index"], row["custom_id"], row["status"]) for row in rows] == [
        (0, "a", 200),
        (1, None, 400),
        (2, "b", 400),
        (3, None, 400),
        (4, "a", 400),
        (5, None, 413),
        (6, None, 400),
        (7, None, 400),
        (8, None, 400),
    ]
    errors = [(row["error"]["code"], row["error"]["attr"]) for row in rows[1:]]
    assert errors == [
        ("parse_error", None),
        ("invalid_choice", "mode"),
        ("invalid_input", None),
        ("duplicate_custom_id", "custom_id"),
        ("request_too_large", None),
        ("required", "summarize_type"),
        ("max_length", "custom_id"),
        ("invalid_input", "data"),
    ]
    assert all(not list(error_faults(row["error"])) for row in rows[1:])
    assert {name: job["progress"][name] for name in ("total", "done", "succeeded", "failed")} == {
        "total": 9,
        "done": 9,
        "succeeded": 1,
        "failed": 8,
    }


def test_bulk_in_which_every_item_fails_succeeds(client: httpx2.Client, fake: Provider) -> None:
    job, rows = run(client, [b"{", b"[]", b"null"])

    assert (job["state"], job["partial_failure"], job["progress"]["failed"]) == ("succeeded", True, 3)
    assert [row["status"] for row in rows] == [400] * 3
    assert fake.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/x-ndjson"),
        (b"\n\r\n \n", "application/x-ndjson"),
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b'{"items": []}', "application/json"),
        (b'{"items": [ ], "metadata": {"a": "b"}}', "application/json; charset=utf-8"),
    ],
)
def test_upload_without_items_is_refused(client: httpx2.Client, content: bytes, kind: str) -> None:
    answer = client.post(BULK, content=content, headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["code"]) == (400, "no_items")


@pytest.mark.parametrize(
    ("content", "code", "attr"),
    [
        (b"{", "parse_error", None),
        (b"[]", "invalid_input", None),
        (b'{"items": [{]}', "parse_error", None),
        (b'{"items": [{}], }', "parse_error", None),
        (b'{"items": [{}]} {}', "parse_error", None),
        (b'{"items": {}}', "invalid_input", "items"),
        (b'{"items": null}', "null", "items"),
        (b'{"items": [{}], "defaults": []}', "invalid_input", "defaults"),
        (b'{"items": [{}], "metadata": {"a": 1}}', "invalid_input", "metadata__a"),
    ],
)
def test_document_that_is_not_valid_is_refused_as_a_whole(
    stack: RunningStack, client: httpx2.Client, content: bytes, code: str, attr: str | None
) -> None:
    before = stored_items(stack)

    answer = client.post(BULK, content=content)

    assert (answer.status_code, answer.json()["code"], answer.json()["attr"]) == (400, code, attr)
    assert list(error_faults(answer.json())) == []
    assert stored_items(stack) == before


def test_document_has_defaults_and_metadata_wherever_they_stand(client: httpx2.Client) -> None:
    body = {
        "items": [{"data": {"event": event()}}, line(mode="minimal"), 7],
        "metadata": {"team": "payments"},
        "defaults": {"summarize_type": "event", "mode": "detailed"},
    }

    answer = client.post(BULK, json=body)
    job = ended(client, answer.json())
    rows = rows_of(client, job)

    assert answer.status_code == 202
    assert (job["metadata"], job["kind"], job["source"]) == (
        {"team": "payments"},
        "summarization.bulk",
        "api",
    )
    assert [row["status"] for row in rows] == [200, 200, 400]
    assert [row["body"]["metadata"]["mode"] for row in rows[:2]] == ["detailed", "minimal"]


def test_options_of_the_query_count_for_items_that_name_none(client: httpx2.Client) -> None:
    _, rows = run(client, [line(), line(mode="minimal")], "?mode=detailed&batch_api=auto")

    assert [row["body"]["metadata"]["mode"] for row in rows] == ["detailed", "minimal"]


@pytest.mark.parametrize("query", ["?mode=x", "?max_spend_usd=-1", "?concurrency=0", "?batch_api=x"])
def test_option_that_is_not_valid_is_refused(client: httpx2.Client, query: str) -> None:
    answer = post(client, [line()], query)

    assert answer.status_code == 400
    assert answer.json()["attr"] == query[1:].split("=")[0]


def chunked(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


def document(items: int) -> bytes:
    return json.dumps({"items": [{}] * items}).encode()


BIG = ndjson([line(custom_id="a")]) + b'{"a": "' + b"x" * MOST_BYTES + b'"}\n'
REFUSED: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("too many lines", b"{}\n" * (MOST_ITEMS + 1), NDJSON, 413, "too_many_items"),
    ("too many elements", document(MOST_ITEMS + 1), {}, 413, "too_many_items"),
    ("too large", BIG, NDJSON, 413, "request_too_large"),
    ("too large in pieces", BIG, {**NDJSON, "Transfer-Encoding": "chunked"}, 413, "request_too_large"),
    (
        "gzip bomb",
        gzip.compress(b"{}\n" + b" " * 50 * MOST_BYTES),
        {**NDJSON, "Content-Encoding": "gzip"},
        413,
        "request_too_large",
    ),
    (
        "gzip cut short",
        gzip.compress(ndjson([line()] * 20))[:-5],
        {**NDJSON, "Content-Encoding": "gzip"},
        400,
        "parse_error",
    ),
    ("no gzip", ndjson([line()]), {**NDJSON, "Content-Encoding": "gzip"}, 400, "parse_error"),
    (
        "other encoding",
        ndjson([line()]),
        {**NDJSON, "Content-Encoding": "br"},
        415,
        "unsupported_media_type",
    ),
    ("other type", ndjson([line()]), {"Content-Type": "text/csv"}, 415, "unsupported_media_type"),
]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [pytest.param(*case[1:], id=case[0]) for case in REFUSED],
)
def test_refused_upload_leaves_nothing_behind(
    stack: RunningStack,
    client: httpx2.Client,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    before = stored_items(stack)
    sent = chunked(content) if "Transfer-Encoding" in headers else content

    answer = client.post(BULK, content=sent, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert list(error_faults(answer.json())) == []
    assert stored_items(stack) == before


def test_as_many_items_as_there_may_be_are_taken(client: httpx2.Client) -> None:
    one = line()

    job, rows = run(client, [one] * MOST_ITEMS)

    assert (job["progress"]["total"], job["progress"]["duplicates"]) == (MOST_ITEMS, MOST_ITEMS - 1)
    assert len(rows) == MOST_ITEMS


def test_compressed_upload_is_taken(client: httpx2.Client) -> None:
    content = gzip.compress(ndjson([line(), line()]))

    answer = post(client, content, headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 202
    assert ended(client, answer.json())["progress"]["succeeded"] == 2


def test_upload_that_is_cut_leaves_nothing_behind(stack: RunningStack) -> None:
    before = stored_items(stack)
    address = urlsplit(stack.url)
    content = ndjson([line() for _ in range(90)])
    head = (
        f"POST /api/environments/{stack.projects['main']}{BULK} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {stack.keys['valid']}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {len(content) + 1000}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(head.encode() + content)
        until(lambda: len(stored_items(stack)) > len(before), "some items are stored")

    until(lambda: stored_items(stack) == before, "all of them are gone")


@pytest.mark.parametrize(
    ("key", "project", "status"),
    [("valid", "flag_off", 403), ("llm_read", "main", 403), ("other_project", "main", 403)],
)
def test_bulk_is_for_those_who_may_have_summaries(
    stack: RunningStack, key: str, project: str, status: int
) -> None:
    address = f"{stack.url}/api/environments/{stack.projects[project]}{BULK}"
    headers = {"Authorization": f"Bearer {stack.keys[key]}", **NDJSON}

    answer = httpx2.post(address, content=ndjson([line()]), headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("preference", "applied"),
    [("respond-async", "respond-async"), ("respond-async, wait=5", "respond-async"), ("wait=5", None)],
)
def test_what_is_applied_of_a_preference_is_said(
    client: httpx2.Client, preference: str, applied: str | None
) -> None:
    answer = post(client, [b"{"], headers={"Prefer": preference})

    assert (answer.status_code, answer.headers["vary"]) == (202, "Prefer")
    assert answer.headers.get("preference-applied") == applied
    ended(client, answer.json())


def test_upload_that_is_repeated_with_its_key_is_one_job(
    stack: RunningStack, client: httpx2.Client, fake: Provider
) -> None:
    items, key = [line(custom_id="a"), b"{"], {"Idempotency-Key": f"bulk-{uuid.uuid4()}"}

    first = post(client, items, headers=key)
    ended(client, first.json())
    again = post(client, items, headers=key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert (again.json()["state"], again.headers["idempotent-replayed"]) == ("succeeded", "true")
    assert again.headers["location"] == first.headers["location"]
    assert fake.stats()["requests"] == 1
    assert stored_items(stack)[first.json()["id"]] == 2


@pytest.mark.parametrize(("more", "query"), [(1, ""), (0, "?concurrency=2")])
def test_key_with_another_upload_or_other_options_is_refused(
    stack: RunningStack, client: httpx2.Client, more: int, query: str
) -> None:
    items, key = [line()], {"Idempotency-Key": f"bulk-{uuid.uuid4()}"}
    ended(client, post(client, items, headers=key).json())
    before = stored_items(stack)

    refused = post(client, items + [line()] * more, query, headers=key)

    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert stored_items(stack) == before


def test_refused_upload_is_not_remembered(client: httpx2.Client) -> None:
    key = {"Idempotency-Key": f"bulk-{uuid.uuid4()}"}

    refused = post(client, [], headers=key)
    good = post(client, [line()], headers=key)

    assert (refused.status_code, good.status_code) == (400, 202)
    assert "idempotent-replayed" not in good.headers
    ended(client, good.json())


# work -------------------------------------------------------------------------------------------------


def test_row_holds_what_the_single_call_would_have_answered(client: httpx2.Client) -> None:
    asked = line(format="structured", include_text_repr=True)

    job, rows = run(client, [asked])
    single = client.post(SUMMARIZATION, json=asked).json()

    body = rows[0]["body"]
    assert {**body, "metadata": 0} == {**single, "metadata": 0}
    assert body["metadata"].keys() == single["metadata"].keys()
    assert (body["metadata"]["job_id"], body["metadata"]["cache"]["status"]) == (job["id"], "miss")
    assert (single["metadata"]["cached"], rows[0]["cached"], rows[0]["attempts"]) == (True, False, 1)


def test_equal_items_share_one_generation(client: httpx2.Client, fake: Provider) -> None:
    one, other = line(), line()
    items = [one, other, {**one, "format": "structured"}, {**one, "mode": "detailed"}, one]

    job, rows = run(client, items)

    assert fake.stats()["requests"] == 3
    told = [row["body"]["metadata"].get("duplicate_of") for row in rows]
    assert told == [None, None, 0, None, 0]
    assert [row["attempts"] for row in rows] == [1, 1, 0, 1, 0]
    assert [row["body"]["metadata"]["cache"]["status"] for row in rows] == [
        "miss",
        "miss",
        "follower",
        "miss",
        "follower",
    ]
    assert rows[2]["body"]["summary"] == rows[0]["body"]["structured"]
    assert [row["body"]["metadata"]["charged_usd"] > 0 for row in rows] == [True, True, False, True, False]
    counted = {name: job["progress"][name] for name in ("duplicates", "llm_calls", "cached")}
    assert counted == {"duplicates": 2, "llm_calls": 3, "cached": 0}
    assert job["progress"]["tokens"] > 0
    assert job["progress"]["cost_usd"] > 0


def test_cached_items_cost_no_call(client: httpx2.Client, fake: Provider) -> None:
    items = [line() for _ in range(20)]
    run(client, items)
    calls = fake.stats()["requests"]

    job, rows = run(client, [*items, line(**items[0])])

    assert fake.stats()["requests"] == calls
    assert all(row["cached"] and row["attempts"] == 0 for row in rows)
    assert (job["progress"]["cached"], job["progress"]["llm_calls"], job["progress"]["cost_usd"]) == (
        21,
        0,
        0,
    )


def test_every_answered_item_can_be_asked_about(stack: RunningStack, client: httpx2.Client) -> None:
    one, other = line(), line()
    twins = [one, {**one, "format": "structured"}, other, other]
    began = datetime.now(UTC)

    run(client, [*twins, b"{"], "?max_llm_calls=1")
    made = [("budget_exceeded", False, False)] * 2 + [("follower", False, False), ("miss", False, True)]
    until(lambda: len(noted_since(stack, began)) >= 4, "the rows of the answers")

    assert noted_since(stack, began) == made


def test_forced_items_are_made_anew(client: httpx2.Client, fake: Provider) -> None:
    item = line()
    run(client, [item])

    _, rows = run(client, [{**item, "force_refresh": True}, {**item, "force_refresh": True}])

    assert fake.stats()["requests"] == 2
    statuses = [row["body"]["metadata"]["cache"]["status"] for row in rows]
    assert statuses == ["refresh", "follower"]


def test_failures_of_the_model_are_failures_of_items(client: httpx2.Client, fake: Provider) -> None:
    marked = f"mark-{uuid.uuid4().hex}"
    fake.script({"behaviour": "refusal", "count": 2, "match": marked})
    data = {"event": event(properties={"$ai_input": [{"role": "user", "content": marked}]})}
    other = {"event": event(properties={"$ai_input": [{"role": "user", "content": marked}]})}

    job, rows = run(client, [line(), line(data=data), line(data=other, on_llm_failure="extractive")])

    assert [row["status"] for row in rows] == [200, 502, 200]
    error = rows[1]["error"]
    assert (error["code"], error["job_id"], error["attempts"]) == ("llm_refused", job["id"], 1)
    assert list(error)[:5] == ["type", "code", "detail", "attr", "error"]
    assert rows[2]["body"]["metadata"]["fallback_reason"] == "llm_refused"
    assert (job["state"], job["partial_failure"], job["progress"]["failed"]) == ("succeeded", True, 1)


def test_cap_on_calls_is_never_passed(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=50)

    job, rows = run(client, [line() for _ in range(30)], "?max_llm_calls=7")

    assert fake.stats()["requests"] == 7
    assert Counter(row["status"] for row in rows) == {200: 7, 503: 23}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"budget_exceeded"}
    assert job["progress"]["llm_calls"] == 7


def test_cap_on_spend_is_never_passed_and_well_used(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=50)
    free, _ = run(client, [line()])
    one = free["progress"]["cost_usd"]
    cap = 0.01

    job, rows = run(client, [line() for _ in range(60)], f"?max_spend_usd={cap}&concurrency=30")

    assert job["progress"]["cost_usd"] <= cap
    done = Counter(row["status"] for row in rows)
    assert done[200] + done[503] == 60
    assert done[503] > 0
    # A call is made only when its upper bound fits, so the last few cents stay.
    assert done[200] * one >= cap / 4


def test_cancel_stops_new_calls_and_keeps_what_was_made(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=1000)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(60)], "?concurrency=4")
    until(lambda: bool(client.get(f"/jobs/{job['id']}/").json()["progress"]["succeeded"]), "the first rows")

    answer = client.post(f"/jobs/{job['id']}/cancel/")
    time.sleep(2)
    calls = fake.stats()["requests"]
    job = ended(client, job)
    rows = rows_of(client, job)

    assert answer.status_code == 202
    assert answer.json()["cancel_requested"] is True
    assert job["state"] == "canceled"
    assert fake.stats()["requests"] == calls
    kept = Counter(row["status"] for row in rows)
    assert kept == {200: calls, 499: 60 - calls}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"job_canceled"}
    assert [row["custom_id"] for row in rows] == [f"c{number}" for number in range(60)]
    assert job["progress"]["canceled"] == 60 - calls
    assert rows == rows_of(client, job)


def test_retry_takes_the_failed_and_canceled_items_only(client: httpx2.Client, fake: Provider) -> None:
    items = [line(custom_id=f"c{number}") for number in range(6)]
    job, rows = run(client, [*items, items[5] | {"custom_id": "twin"}, b"{"], "?max_llm_calls=2")
    failed = [row["custom_id"] for row in rows if row["status"] >= 400]
    calls = fake.stats()["requests"]

    answer = client.post(f"/jobs/{job['id']}/retry/")
    again = ended(client, answer.json())

    assert answer.status_code == 202
    assert (again["parent_id"], again["source"]) == (job["id"], "retry")
    found = rows_of(client, again)
    assert [row["custom_id"] for row in found] == failed
    assert [row["index"] for row in found] == list(range(len(failed)))
    assert found[-1]["error"]["code"] == "parse_error"
    # The options are those of the first job: two more calls.
    assert fake.stats()["requests"] == calls + 2
    listed = client.get(f"/jobs/?parent_id={job['id']}").json()["results"]
    assert [one["id"] for one in listed] == [again["id"]]


def test_retry_of_what_cannot_be_retried_is_a_conflict(client: httpx2.Client, fake: Provider) -> None:
    done, _ = run(client, [line()])
    single = finished_single(client)
    fake.configure(latency_ms=1000)
    active = accepted(client, [line()])

    statuses = [client.post(f"/jobs/{job['id']}/retry/").status_code for job in (done, single, active)]

    assert statuses == [409, 409, 409]
    ended(client, active)


def test_progress_adds_up_at_every_look(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=150)
    job = accepted(client, [line() for _ in range(100)], "?concurrency=16")
    done = 0
    while job["state"] in ("queued", "running"):
        job = client.get(f"/jobs/{job['id']}/").json()
        counted = job["progress"]
        assert counted["total"] == counted["queued"] + counted["running"] + counted["done"] == 100
        assert counted["done"] == counted["succeeded"] + counted["failed"] + counted["canceled"]
        assert counted["done"] >= done
        done = counted["done"]
        time.sleep(0.03)

    assert fake.stats()["max_inflight"] <= 16
    assert (job["state"], done) == ("succeeded", 100)


# out --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(client: httpx2.Client, fake: Provider) -> dict[str, Any]:
    """Ten items, of which those at 2, 5 and 8 are refused."""
    fake.reset()
    items: list[Any] = [b"{" if number % 3 == 2 else line(custom_id=f"c{number}") for number in range(10)]
    job, _ = run(client, items)
    return job


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("", list(range(10))),
        ("?after=6", [7, 8, 9]),
        ("?after=99", []),
        ("?only=failed", [2, 5, 8]),
        ("?only=succeeded&after=3", [4, 6, 7, 9]),
        ("?only=canceled", []),
        ("?follow=false", list(range(10))),
    ],
)
def test_rows_are_chosen_by_query(
    client: httpx2.Client, mixed: dict[str, Any], query: str, indexes: list[int]
) -> None:
    assert [row["index"] for row in rows_of(client, mixed, query)] == indexes


@pytest.mark.parametrize("query", ["?after=x", "?only=some", "?follow=maybe"])
def test_query_that_is_not_valid_is_refused(client: httpx2.Client, mixed: dict[str, Any], query: str) -> None:
    answer = client.get(f"/jobs/{mixed['id']}/results/{query}")

    assert (answer.status_code, answer.json()["attr"]) == (400, query[1:].split("=")[0])


def test_rows_are_the_same_bytes_whenever_they_are_read(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    address = f"/jobs/{mixed['id']}/results/"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})

    assert plain.headers["content-type"].startswith("application/x-ndjson")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content == client.get(address).content


def test_rows_come_in_pages_for_those_who_want_json(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    address = f"/jobs/{mixed['id']}/results/?limit=4&only=succeeded"
    found: list[dict[str, Any]] = []
    while address:
        page = client.get(address, headers={"Accept": "application/json"}).json()
        assert page["count"] == 7
        found += page["results"]
        address = page["next"]

    assert found == rows_of(client, mixed, "?only=succeeded")


def test_follower_sees_every_row_once_and_then_the_end(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=300)
    job = accepted(client, [line() for _ in range(24)] + [b"{"], "?concurrency=4")

    with client.stream("GET", f"/jobs/{job['id']}/results/?follow=true") as answer:
        rows = [json.loads(text) for text in answer.iter_lines() if text]

    assert sorted(row["index"] for row in rows) == list(range(25))
    assert rows[0]["index"] == 24
    assert ended(client, job)["state"] == "succeeded"


def test_follower_of_a_canceled_job_gets_the_canceled_rows_too(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=500)
    job = accepted(client, [line() for _ in range(40)], "?concurrency=2")
    client.post(f"/jobs/{job['id']}/cancel/")

    rows = rows_of(client, job, "?follow=true")

    assert sorted(row["index"] for row in rows) == list(range(40))
    assert {row["status"] for row in rows} <= {200, 499}


def test_listener_hears_of_each_item_and_resumes(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=300)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(3)])

    live = listen(client, job["id"], "?items=true")
    replayed = listen(client, job["id"], "?items=true")
    seen = next(event.id for event in live if event.name == "item")
    resumed = listen(client, job["id"], "?items=true", **{"Last-Event-ID": str(seen)})
    plain = listen(client, job["id"])

    assert [event.id for event in live] == list(range(1, len(live) + 1))
    told = [event.data for event in live if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert len(told) == 3
    assert live[-1].name == "done"
    assert live[-1].data["progress"]["succeeded"] == 3
    assert replayed == live
    assert resumed == live[seen:]
    assert [event.name for event in plain if event.name == "item"] == []


@pytest.mark.parametrize("good", [0, 30])
def test_listener_hears_of_refused_items_too(client: httpx2.Client, good: int) -> None:
    job = accepted(client, [b"{", *(line() for _ in range(good)), b"[]"])

    heard = listen(client, job["id"], "?items=true")

    told = [event.data for event in heard if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert [row["index"] for row in told][:2] == [0, good + 1]


def test_listener_hears_of_canceled_items_too(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=600)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(20)], "?concurrency=4")
    until(lambda: bool(client.get(f"/jobs/{job['id']}/").json()["progress"]["succeeded"]), "the first rows")
    client.post(f"/jobs/{job['id']}/cancel/")

    heard = listen(client, job["id"], "?items=true")

    told = [event.data for event in heard if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert {row["status"] for row in told} == {200, 499}
    assert (heard[-1].name, heard[-1].data["state"]) == ("done", "canceled")


def test_deleted_job_takes_its_rows_along(stack: RunningStack, client: httpx2.Client) -> None:
    job, _ = run(client, [line(), b"{"])

    deleted = client.delete(f"/jobs/{job['id']}/")

    assert deleted.status_code == 204
    assert client.get(f"/jobs/{job['id']}/results/").status_code == 404
    assert job["id"] not in stored_items(stack)


def test_job_with_one_result_has_no_rows(client: httpx2.Client) -> None:
    single = finished_single(client)

    answer = client.get(f"/jobs/{single['id']}/results/")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_rows_are_for_those_who_may_see_the_job(stack: RunningStack, mixed: dict[str, Any]) -> None:
    for key, status in (("llm_read", 403), ("wrong_scope", 403)):
        with stack.client(key) as other:
            assert other.get(f"/jobs/{mixed['id']}/results/").status_code == status
            assert other.post(f"/jobs/{mixed['id']}/retry/").status_code == status


def test_result_of_a_bulk_says_how_it_ended(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    answer = client.get(f"/jobs/{mixed['id']}/result/")

    assert answer.status_code == 200
    assert answer.json()["progress"] == mixed["progress"]
    assert answer.json()["partial_failure"] is True
