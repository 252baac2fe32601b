"""Bulk summaries over HTTP: what is taken in, what is refused, and who may have them."""

from __future__ import annotations

import gzip
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.bulks import (
    BULK,
    LONGEST_LINE,
    MOST_BYTES,
    MOST_ITEMS,
    NDJSON,
    bulk_settings,
    ended,
    line,
    ndjson,
    post,
    rows_of,
    run,
    stored_items,
    until,
)
from tests.e2e.matching import error_faults
from tests.e2e.payloads import event
from tests.e2e.provider import Provider, provider
from tests.running import RunningStack

ROW = ["index", "custom_id", "status", "body", "error", "cached", "attempts", "duration_ms"]


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return bulk_settings(fake)


@pytest.fixture(autouse=True)
def _well_behaved(fake: Provider) -> None:
    fake.reset()


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
