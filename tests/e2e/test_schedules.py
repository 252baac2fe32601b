"""Schedules over HTTP: their fields, who may see them, and their runs by however many beats."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from storage.models import Schedule
from storage.session import make_engine
from tests.running import RunningStack

PATIENCE_S = 60
REQUEST = {"query": {"dateRange": {"date_from": "-1h"}}}

names = iter(range(10**6))


def body(**members: Any) -> dict[str, Any]:
    usual = {"name": f"schedule {next(names)}", "kind": "logs.sparkline", "request": REQUEST}
    timing = {} if "cron" in members else {"interval_seconds": 3600}
    return {name: value for name, value in {**usual, **timing, **members}.items() if value is not ...}


def made(client: httpx2.Client, **members: Any) -> dict[str, Any]:
    answer = client.post("/schedules/", json=body(**members))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def until(told: Callable[[], Any], *, wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(found := told()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def runs_of(client: httpx2.Client, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.get("/jobs/", params={"schedule_id": schedule["id"]})
    assert answer.status_code == 200
    return list(answer.json()["results"])


def make_due(stack: RunningStack, schedule: dict[str, Any]) -> None:
    """As if the next due time of the schedule had come."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    due = datetime.now(UTC) - timedelta(seconds=1)
    with engine.begin() as connection:
        chosen = update(Schedule).where(Schedule.id == schedule["id"])
        connection.execute(chosen.values(next_run_at=due, fire_at=due))
    engine.dispose()


@contextmanager
def further_beat(stack: RunningStack, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "-q", "beat", "-l", "warning"]
    process = subprocess.Popen(
        [*command, "-s", str(folder / "further-beat"), "--pidfile="], env=stack.variables()
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_schedule_is_created_read_changed_and_removed(client: httpx2.Client) -> None:
    created = made(client, name="  Errors  ", interval_seconds=300)
    address = f"/schedules/{created['id']}/"

    changed = client.patch(address, json={"name": "Renamed", "cron": "0 9 * * 1-5", "timezone": "Asia/Tokyo"})
    detail = client.get(address)
    listed = client.get("/schedules/", params={"limit": 1000}).json()["results"]
    removed = client.delete(address)

    assert created["id"].startswith("sch_")
    assert (created["name"], created["interval_seconds"], created["cron"]) == ("Errors", 300, None)
    assert (created["enabled"], created["timezone"], created["request"]) == (True, "UTC", REQUEST)
    assert created["created_by"]["email"] == "ada@example.com"
    assert [created[name] for name in ("last_run_at", "last_job_id", "last_state")] == [None] * 3
    assert (created["consecutive_failures"], created["skipped_runs"]) == (0, 0)
    assert changed.status_code == 200
    assert (changed.json()["interval_seconds"], changed.json()["cron"]) == (None, "0 9 * * 1-5")
    assert changed.json()["next_run_at"].endswith("T00:00:00.000000Z")
    assert detail.json() == changed.json()
    assert changed.json() in listed
    assert (removed.status_code, client.get(address).status_code) == (204, 404)


def test_a_paused_schedule_has_no_due_time_until_it_is_switched_on(client: httpx2.Client) -> None:
    schedule = made(client, enabled=False)

    on = client.patch(f"/schedules/{schedule['id']}/", json={"enabled": True}).json()
    off = client.patch(f"/schedules/{schedule['id']}/", json={"enabled": "false"}).json()

    assert [shown["next_run_at"] is None for shown in (schedule, on, off)] == [True, False, True]


@pytest.mark.parametrize(
    ("members", "attr", "code"),
    [
        ({"name": ...}, "name", "required"),
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 101}, "name", "max_length"),
        ({"kind": "summarization"}, "kind", "invalid_choice"),
        ({"request": ...}, "request", "required"),
        ({"request": {"query": "x"}}, "request__query", "invalid_input"),
        (
            {"request": {"query": {"dateRange": {"date_from": "soon"}}}},
            "request__query__dateRange__date_from",
            "invalid_input",
        ),
        ({"interval_seconds": 29}, "interval_seconds", "min_value"),
        ({"interval_seconds": 604_801}, "interval_seconds", "max_value"),
        ({"interval_seconds": "x"}, "interval_seconds", "invalid_input"),
        ({"interval_seconds": ...}, "interval_seconds", "required"),
        ({"cron": "61 * * * *"}, "cron", "invalid_input"),
        ({"cron": "* * * * *", "interval_seconds": 60}, "cron", "invalid_input"),
        ({"timezone": "Nowhere/Else"}, "timezone", "invalid_choice"),
        ({"enabled": 7}, "enabled", "invalid_input"),
    ],
)
def test_a_field_that_is_not_acceptable_is_named(
    client: httpx2.Client, members: dict[str, Any], attr: str, code: str
) -> None:
    answer = client.post("/schedules/", json=body(**members))

    assert answer.status_code == 400
    told = answer.json()
    assert (told["type"], told["attr"], told["code"]) == ("validation_error", attr, code)
    assert list(told) == ["type", "code", "detail", "attr"]


def test_a_name_is_there_once(client: httpx2.Client) -> None:
    first, second = made(client), made(client)

    again = client.post("/schedules/", json=body(name=first["name"]))
    renamed = client.patch(f"/schedules/{second['id']}/", json={"name": first["name"]})

    assert [(answer.status_code, answer.json()["code"]) for answer in (again, renamed)] == [
        (400, "unique")
    ] * 2


def test_reading_writing_and_the_kind_need_their_scopes(stack: RunningStack, client: httpx2.Client) -> None:
    schedule = made(client)
    address = f"/schedules/{schedule['id']}/"
    with stack.client("schedule_read") as reader, stack.client("schedule_write") as writer:
        statuses = [
            reader.get(address).status_code,
            reader.post("/schedules/", json=body()).status_code,
            reader.delete("/schedules/sch_unknown/").status_code,
            writer.get(address).status_code,
            writer.post("/schedules/", json=body(name=...)).status_code,
            writer.patch(address, json={"name": ""}).status_code,
            writer.post(f"{address}run/").status_code,
        ]
    with stack.client("logs_read") as outsider:
        statuses.append(outsider.get("/schedules/").status_code)

    assert statuses == [200, 403, 403, 200, 403, 403, 403, 403]


def test_schedules_of_other_projects_cannot_be_reached(stack: RunningStack, client: httpx2.Client) -> None:
    schedule = made(client)
    other = f"{stack.url}/api/environments/{stack.projects['other']}/schedules/"
    headers = {"Authorization": f"Bearer {stack.keys['other_project']}"}
    address = f"{other}{schedule['id']}/"

    answers = [
        httpx2.get(address, headers=headers),
        httpx2.patch(address, headers=headers, json={"name": "mine"}),
        httpx2.post(f"{address}run/", headers=headers),
        httpx2.delete(address, headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert httpx2.get(other, headers=headers).json()["count"] == 0
    assert client.get(f"/schedules/{schedule['id']}/").json()["name"] == schedule["name"]


@pytest.mark.parametrize("odd", ["sch_", "job_1", "sch_a%2fb", "sch_" + "0" * 80, "sch_\u00e9", "1"])
def test_ids_that_are_none_are_not_found(client: httpx2.Client, odd: str) -> None:
    assert client.get(f"/schedules/{odd}/").status_code == 404


def test_a_run_on_demand_is_a_job_also_of_a_paused_schedule(client: httpx2.Client) -> None:
    schedule = made(client, enabled=False)

    started = client.post(f"/schedules/{schedule['id']}/run/")
    ended = client.get(f"/jobs/{started.json()['id']}/", params={"wait": 30}).json()
    after = until(
        lambda: client.get(f"/schedules/{schedule['id']}/").json(),
        wanted=lambda shown: shown["last_state"] == "succeeded",
    )

    assert started.status_code == 202
    assert started.headers["location"].endswith(f"/jobs/{started.json()['id']}/")
    assert (ended["state"], ended["source"], ended["schedule_id"]) == (
        "succeeded",
        "schedule",
        schedule["id"],
    )
    assert [run["id"] for run in runs_of(client, schedule)] == [ended["id"]]
    assert (after["last_job_id"], after["enabled"], after["next_run_at"]) == (ended["id"], False, None)


def test_a_request_that_is_repeated_with_its_key_works_once(client: httpx2.Client) -> None:
    fields = body(enabled=False)
    headers = {"Idempotency-Key": f"key-{time.time_ns()}"}

    made_twice = [client.post("/schedules/", json=fields, headers=headers) for _ in range(2)]
    run = f"/schedules/{made_twice[0].json()['id']}/run/"
    run_twice = [client.post(run, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in made_twice] == [201, 201]
    assert made_twice[1].content == made_twice[0].content
    assert [answer.status_code for answer in run_twice] == [202, 202]
    assert run_twice[1].json()["id"] == run_twice[0].json()["id"]
    assert (
        made_twice[1].headers["idempotent-replayed"] == run_twice[1].headers["idempotent-replayed"] == "true"
    )
    assert len(runs_of(client, made_twice[0].json())) == 1


def test_each_due_time_runs_once_with_two_beats_and_restarts(
    stack: RunningStack, client: httpx2.Client, tmp_path: Path
) -> None:
    schedule = made(client)
    with further_beat(stack, tmp_path):
        for expected in range(1, 4):
            make_due(stack, schedule)
            until(
                lambda: runs_of(client, schedule),
                wanted=lambda runs, least=expected: (
                    len(runs) >= least and all(run["state"] == "succeeded" for run in runs)
                ),
            )
            subprocess.run(["kill", "-9", str(stack.children()["beat"])], check=True)
            until(stack.children, wanted=lambda children: "beat" in children)
    time.sleep(2.5)  # beats ask every second; a run too many would have started by now

    assert len(runs_of(client, schedule)) == 3
    assert client.get(f"/schedules/{schedule['id']}/").json()["skipped_runs"] == 0


def test_a_schedule_that_is_due_while_no_beat_runs_is_run_once_later(
    stack: RunningStack, client: httpx2.Client
) -> None:
    schedule = made(client, interval_seconds=30)
    make_due(stack, schedule)

    runs = until(lambda: runs_of(client, schedule), wanted=bool)
    following = client.get(f"/schedules/{schedule['id']}/").json()["next_run_at"]

    assert len(runs) == 1
    assert datetime.fromisoformat(following) > datetime.now(UTC)
