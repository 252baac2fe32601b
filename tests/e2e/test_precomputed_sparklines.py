"""Sparklines counted ahead: the same answers, told apart by their headers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import redis

from cache.sparklines import decode, encode, sparkline_key
from jobs.logs import parse_sparkline
from tests.running import RunningStack

PATIENCE_S = 60
NDJSON = {"Content-Type": "application/x-ndjson"}
YESTERDAY = {"date_from": "-1dStart", "date_to": "-1dEnd"}

names = iter(range(10**6))


@pytest.fixture
def store(stack: RunningStack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.variables()["REDIS_URL"]) as opened:
        yield opened


def service() -> str:
    """A service of its own for each test: nobody else's records count."""
    return f"service-{next(names)}-{time.time_ns()}"


def load(client: httpx2.Client, service: str, *times: datetime) -> None:
    lines = [
        {"body": f"record {place}", "service_name": service, "timestamp": moment.isoformat()}
        for place, moment in enumerate(times)
    ]
    content = "\n".join(json.dumps({**line, "attributes": {"load": str(time.time_ns())}}) for line in lines)
    answer = client.post("/logs/import/", content=content.encode(), headers=NDJSON)
    assert (answer.status_code, answer.json()["accepted"]) == (200, len(times)), answer.text


def query(service: str, date_range: dict[str, str]) -> dict[str, Any]:
    return {"query": {"dateRange": date_range, "serviceNames": [service], "sparklineBreakdownBy": "service"}}


def scheduled_run(client: httpx2.Client, request: dict[str, Any], **members: Any) -> None:
    """A schedule with this request has run."""
    timing = {"interval_seconds": 600, "name": f"sparkline {next(names)}"}
    fields = {"kind": "logs.sparkline", "request": request, **timing, **members}
    made = client.post("/schedules/", json=fields)
    assert made.status_code == 201, made.text
    started = client.post(f"/schedules/{made.json()['id']}/run/")
    ended = client.get(f"/jobs/{started.json()['id']}/", params={"wait": 60})
    assert ended.json()["state"] == "succeeded", ended.text


def ask(client: httpx2.Client, request: dict[str, Any], **params: str) -> httpx2.Response:
    answer = client.post("/logs/sparkline/", json=request, params=params)
    assert answer.status_code == 200, answer.text
    return answer


def until(told: Callable[[], Any], *, wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(found := told()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def total(answer: httpx2.Response) -> int:
    return sum(row["count"] for row in answer.json())


def midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def make_older(store: redis.Redis, stack: RunningStack, request: dict[str, Any], seconds: float) -> None:
    """As if what is stored for this request had been counted so much earlier."""
    parsed = parse_sparkline(request, now=datetime.now(UTC), timezone=UTC)
    key = sparkline_key(stack.projects["main"], parsed) or ""
    stored = decode(store.get(key))  # type: ignore[arg-type]
    assert stored is not None
    store.set(key, encode(replace(stored, stored_at=stored.stored_at - seconds)), keepttl=True)


@pytest.mark.parametrize("date_range", [YESTERDAY, {"date_from": "-24h"}, {"date_from": "-1h"}])
def test_a_call_like_a_scheduled_one_is_a_hit_with_the_same_rows(
    client: httpx2.Client, date_range: dict[str, str]
) -> None:
    mine = service()
    now = datetime.now(UTC)
    load(client, mine, *(now - timedelta(minutes=step) for step in (0, 3, 17, 44, 1500)))
    load(client, mine, *(midnight() - timedelta(hours=step) for step in (1, 2, 2, 20)))
    request = query(mine, date_range)
    before = ask(client, request)
    scheduled_run(client, request)

    hit, fresh = ask(client, request), ask(client, request, fresh="true")

    assert [answer.headers["x-cache"] for answer in (before, hit, fresh)] == ["miss", "hit", "miss"]
    assert hit.headers["x-tracegist-source"] == "precomputed"
    assert 0 <= int(hit.headers["age"]) <= PATIENCE_S
    assert "age" not in fresh.headers
    assert total(hit) == total(fresh) > 0
    counted = [[row for row in answer.json() if row["count"]] for answer in (hit, fresh)]
    assert counted[0] == counted[1]


def test_a_range_of_closed_buckets_is_answered_without_a_job(client: httpx2.Client) -> None:
    request = query(service(), YESTERDAY)
    scheduled_run(client, request)
    jobs_before = client.get("/jobs/", params={"kind": "logs.sparkline"}).json()["count"]

    answers = [ask(client, request), ask(client, request, shape="object")]

    assert [answer.headers["x-cache"] for answer in answers] == ["hit", "hit"]
    assert answers[1].json()["results"] == answers[0].json()
    assert answers[1].json()["source"] == "precomputed"
    assert client.get("/jobs/", params={"kind": "logs.sparkline"}).json()["count"] == jobs_before


def test_the_open_bucket_is_live(client: httpx2.Client) -> None:
    mine = service()
    request = query(mine, {"date_from": "-24h"})
    scheduled_run(client, request)
    load(client, mine, datetime.now(UTC))

    answer = until(lambda: ask(client, request), wanted=lambda answer: total(answer) == 1)

    assert answer.headers["x-cache"] == "hit"


def test_a_late_record_of_a_closed_bucket_shows_after_two_periods(
    stack: RunningStack, client: httpx2.Client, store: redis.Redis
) -> None:
    mine = service()
    request = query(mine, YESTERDAY)
    scheduled_run(client, request, interval_seconds=300)
    load(client, mine, midnight() - timedelta(hours=3))

    within = ask(client, request)
    make_older(store, stack, request, 601)
    after = until(lambda: ask(client, request), wanted=lambda answer: total(answer) == 1)

    assert (within.headers["x-cache"], total(within)) == ("hit", 0)
    assert after.headers["x-cache"] == "miss"


def test_what_cannot_be_read_changes_nothing_but_speed(
    stack: RunningStack, client: httpx2.Client, store: redis.Redis
) -> None:
    mine = service()
    request = query(mine, YESTERDAY)
    load(client, mine, midnight() - timedelta(hours=3))
    scheduled_run(client, request)
    hit = ask(client, request)
    parsed = parse_sparkline(request, now=datetime.now(UTC), timezone=UTC)
    store.set(sparkline_key(stack.projects["main"], parsed) or "", b"\x01broken")

    miss = ask(client, request)

    assert (hit.headers["x-cache"], miss.headers["x-cache"]) == ("hit", "miss")
    assert miss.json() == hit.json()


def test_projects_do_not_share_what_is_stored(stack: RunningStack, client: httpx2.Client) -> None:
    mine = service()
    request = query(mine, YESTERDAY)
    load(client, mine, midnight() - timedelta(hours=3))
    scheduled_run(client, request)

    elsewhere = httpx2.post(
        f"{stack.url}/api/environments/{stack.projects['other']}/logs/sparkline/",
        headers={"Authorization": f"Bearer {stack.keys['other_project']}"},
        json=request,
        timeout=90,
    )

    assert total(ask(client, request)) == 1
    assert (elsewhere.headers["x-cache"], total(elsewhere)) == ("miss", 0)


def test_usual_sparklines_of_an_active_project_are_counted_ahead(client: httpx2.Client) -> None:
    load(client, service(), datetime.now(UTC))
    requests = [
        {"query": {"dateRange": {"date_from": date_from}, "sparklineBreakdownBy": breakdown}}
        for date_from in ("-1h", "-24h", "-7d")
        for breakdown in ("severity", "service")
    ]

    found = until(
        lambda: [ask(client, request).headers["x-cache"] for request in requests],
        wanted=lambda caches: set(caches) == {"hit"},
    )

    assert len(found) == 6


@pytest.fixture(scope="module")
def stack_settings() -> dict[str, str]:
    return {"TRACEGIST_LOGS_PRECOMPUTE_INTERVAL_S": "5"}
