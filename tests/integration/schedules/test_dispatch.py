"""Runs of due schedules: one for each due time, whoever starts it and whatever is lost on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
import redis
from sqlalchemy import select

from jobs import scripts
from jobs.due_times import Timing
from jobs.errors import InternalError, JobFailure
from jobs.kinds import LOGS_QUEUE
from jobs.log_payloads import read_question
from jobs.records import JobRecord, JobResult
from jobs.runs import Run, RunStore
from jobs.schedules import ScheduleFields
from jobs.states import JobState
from storage import jobs as job_rows
from storage import schedules
from storage.models import Schedule, Webhook, WebhookDelivery
from storage.projects import create_project, create_user
from tests.integration.jobs.support import Sessions
from workers.due_schedules import fire_due
from workers.recorder import Recorder

REQUEST = {"query": {"dateRange": {"date_from": "-1h"}}}
FIELDS = ScheduleFields("Errors", "logs.sparkline", REQUEST, Timing(interval_seconds=60))


@dataclass
class Desk:
    """A deployment with one schedule; `pass_time` moves its clock, `fire` is what a beat asks for."""

    runs: RunStore
    sessions: Sessions
    schedule_id: str
    project_id: int
    now: datetime
    sent: list[JobRecord] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def fire(self) -> int:
        return fire_due(self.runs, self.sessions, self.sent.append, now=self.now, result_ttl_s=60)

    def end(self, record: JobRecord, state: JobState = JobState.SUCCEEDED) -> None:
        """A worker takes the run and ends it; its row is written."""
        run = self.runs.start(record.id, LOGS_QUEUE)
        assert isinstance(run, Run)
        failure = JobFailure.of(InternalError("It did not work.")) if state is JobState.FAILED else None
        result = JobResult(500 if failure else 200, b"[]")
        self.runs.finish(run.record, state, result=result, error=failure and failure.body)
        self.record()

    def record(self) -> None:
        Recorder(self.runs, self.sessions).write_once()

    def schedule(self) -> Schedule:
        with self.sessions() as session:
            found = schedules.get(session, self.schedule_id, project_id=self.project_id)
            assert found is not None
            return found.schedule


def fire_at_once(desk: Desk, *, beats: int) -> None:
    together = Barrier(beats)

    def fire() -> None:
        together.wait(30)
        desk.fire()

    threads = [Thread(target=fire) for _ in range(beats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.fixture
def desk(runs: RunStore, sessions: Sessions) -> Desk:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        project = create_project(session, "main")
        user = create_user(session, "ada@example.com")
        made = schedules.insert(session, FIELDS, project_id=project.id, user_id=user.id, now=now)
    return Desk(runs, sessions, made.id, project.id, now)


def test_nothing_runs_before_it_is_due(desk: Desk) -> None:
    desk.pass_time(59)

    assert (desk.fire(), desk.sent) == (0, [])


def test_a_due_schedule_runs_as_a_job_of_its_own_kind_and_source(desk: Desk) -> None:
    desk.pass_time(70)

    assert desk.fire() == 1
    (record,) = desk.sent
    with desk.sessions() as session:
        row = job_rows.get(session, record.id)
    assert row is not None
    assert (row.kind, row.source, row.schedule_id) == ("logs.sparkline", "schedule", desk.schedule_id)
    assert desk.schedule().last_job_id == record.id


def test_the_range_of_a_run_is_resolved_when_it_starts(desk: Desk) -> None:
    desk.pass_time(70)
    desk.fire()

    run = desk.runs.start(desk.sent[0].id, LOGS_QUEUE)

    assert isinstance(run, Run)
    asked = read_question(run.payload)
    assert (asked.asked, asked.now) == (REQUEST, desk.now)


def test_many_beats_start_one_run_for_each_due_time(desk: Desk) -> None:
    desk.pass_time(7)  # more than the delay of the schedule
    for _ in range(5):
        desk.pass_time(60)
        fire_at_once(desk, beats=4)
        desk.end(desk.sent[-1])

    assert (len(desk.sent), desk.schedule().skipped_runs) == (5, 0)


def test_due_times_missed_while_down_make_one_run(desk: Desk) -> None:
    desk.pass_time(3600 * 5)

    assert [desk.fire(), desk.fire()] == [1, 0]


def test_a_run_that_is_still_active_leaves_the_next_one_out(desk: Desk) -> None:
    desk.pass_time(70)
    desk.fire()
    desk.pass_time(60)

    assert desk.fire() == 0
    assert (len(desk.sent), desk.schedule().skipped_runs) == (1, 1)


def test_after_its_end_the_next_run_starts_though_its_row_is_late(desk: Desk, runs: RunStore) -> None:
    desk.pass_time(70)
    desk.fire()
    run = runs.start(desk.sent[0].id, LOGS_QUEUE)
    assert isinstance(run, Run)
    runs.finish(run.record, JobState.SUCCEEDED, result=JobResult(200, b"[]"))
    desk.pass_time(60)

    assert desk.fire() == 1


def test_a_run_whose_message_was_never_sent_is_a_promised_job(desk: Desk) -> None:
    def broken(_record: JobRecord) -> None:
        raise ConnectionError("the broker is away")

    desk.pass_time(70)
    with pytest.raises(ConnectionError):
        fire_due(desk.runs, desk.sessions, broken, now=desk.now, result_ttl_s=60)

    job_id = desk.schedule().last_job_id
    with desk.sessions() as session:
        assert job_rows.load_promised(session, job_id or "") is not None
    assert desk.fire() == 0


def test_a_run_that_the_store_has_lost_counts_as_active_until_it_is_restored(
    desk: Desk, client: redis.Redis
) -> None:
    desk.pass_time(70)
    desk.fire()
    client.delete(scripts.record_key(desk.sent[0].id))
    desk.pass_time(60)

    assert desk.fire() == 0


def test_the_schedule_tells_how_its_last_run_went(desk: Desk) -> None:
    desk.pass_time(70)
    desk.fire()
    before = desk.schedule().last_state

    desk.end(desk.sent[0])

    assert (before, desk.schedule().last_state) == ("queued", "succeeded")


def test_five_failures_in_a_row_pause_the_schedule(desk: Desk) -> None:
    for _ in range(5):
        desk.pass_time(70)
        desk.fire()
        desk.end(desk.sent[-1], JobState.FAILED)
    desk.pass_time(600)

    after = desk.schedule()
    assert (len(desk.sent), after.enabled, after.consecutive_failures) == (5, False, 5)
    assert desk.fire() == 0


def test_who_listens_is_told_once_that_a_schedule_was_paused(desk: Desk) -> None:
    hook = Webhook(
        id="wh_1",
        project_id=desk.project_id,
        url="https://example.com/",
        events=["schedule.paused"],
        sealed="",
        created_at=desk.now,
        updated_at=desk.now,
    )
    with desk.sessions.begin() as session:
        session.add(hook)
    for _ in range(5):
        desk.pass_time(70)
        desk.fire()
        desk.end(desk.sent[-1], JobState.FAILED)
    desk.record()

    with desk.sessions() as session:
        (delivery,) = session.scalars(select(WebhookDelivery)).all()
    told = json.loads(delivery.body)
    assert (delivery.event, told["type"]) == ("schedule.paused", "schedule.paused")
    assert told["data"]["id"] == desk.schedule_id
    assert told["data"]["last_job_id"] == desk.sent[-1].id


def test_a_schedule_that_cannot_be_timed_does_not_keep_back_others(desk: Desk) -> None:
    lost_zone = replace(FIELDS, name="Lost", timing=Timing(cron="* 3 * * *", timezone="UTC"))
    with desk.sessions.begin() as session:
        made = schedules.insert(session, lost_zone, project_id=desk.project_id, user_id=1, now=desk.now)
        session.get_one(Schedule, made.id).timezone = "Gone/Zone"
    desk.pass_time(2 * 86_400)

    assert desk.fire() == 1
