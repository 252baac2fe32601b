"""Schedules in the database: names, due times that are used up once, and how runs went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
from sqlalchemy.orm import Session, sessionmaker

from jobs.due_times import Timing
from jobs.errors import ValidationFailed
from jobs.kinds import LOGS_SPARKLINE
from jobs.records import JobRecord
from jobs.schedules import ScheduleFields, run_record
from jobs.states import JobState
from storage import jobs as job_rows
from storage import schedules
from storage.models import Project, Schedule, User
from storage.projects import create_project

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FIELDS = ScheduleFields("Errors", "logs.sparkline", {"query": {}}, Timing(interval_seconds=60))

Sessions = sessionmaker[Session]


def made(
    sessions: Sessions, project: Project, user: User, fields: ScheduleFields = FIELDS, *, now: datetime = NOW
) -> Schedule:
    with sessions.begin() as session:
        return schedules.insert(session, fields, project_id=project.id, user_id=user.id, now=now)


def read(sessions: Sessions, schedule: Schedule) -> Schedule:
    with sessions() as session:
        found = schedules.get(session, schedule.id, project_id=schedule.project_id)
        assert found is not None
        return found.schedule


def ended(schedule: Schedule, state: JobState, *, after_s: float = 0) -> JobRecord:
    """A run that has ended; `after_s` orders several."""
    now = NOW + timedelta(seconds=after_s)
    record = run_record(
        LOGS_SPARKLINE,
        schedule.id,
        project_id=schedule.project_id,
        user_id=1,
        now=now,
        result_ttl_s=60,
    )
    return replace(record, state=state, finished_at=now.timestamp())


def follow(sessions: Sessions, schedule: Schedule, records: Sequence[JobRecord]) -> list[str]:
    """As the recorder does; the ids of schedules that were paused."""
    with sessions.begin() as session:
        job_rows.record(session, records)
        return [paused.id for paused in schedules.follow_runs(session, {schedule.id})]


def test_a_new_schedule_is_due_one_interval_from_now_and_starts_a_little_later(
    sessions: Sessions, project: Project, user: User
) -> None:
    schedule = read(sessions, made(sessions, project, user))

    assert schedule.next_run_at == NOW + timedelta(seconds=60)
    assert schedule.fire_at is not None
    assert timedelta(0) <= schedule.fire_at - schedule.next_run_at <= timedelta(seconds=6)


def test_a_paused_schedule_is_never_due(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user, replace(FIELDS, enabled=False))

    with sessions() as session:
        assert (schedule.next_run_at, schedule.fire_at) == (None, None)
        assert schedules.due(session, NOW + timedelta(days=9)) == []


def test_a_name_is_unique_in_its_project_only(sessions: Sessions, project: Project, user: User) -> None:
    made(sessions, project, user)
    with sessions.begin() as session:
        other = create_project(session, "other")

    made(sessions, other, user)
    with pytest.raises(ValidationFailed) as caught:
        made(sessions, project, user)

    assert (caught.value.attr, caught.value.code) == ("name", "unique")


def test_a_change_to_a_name_that_exists_is_refused(sessions: Sessions, project: Project, user: User) -> None:
    made(sessions, project, user)
    second = made(sessions, project, user, replace(FIELDS, name="Second"))

    with sessions() as session:
        locked = schedules.lock(session, second.id, project_id=project.id)
        assert locked is not None
        with pytest.raises(ValidationFailed) as caught:
            schedules.change(session, locked, FIELDS, now=NOW)

    assert (caught.value.attr, caught.value.code) == ("name", "unique")


def test_a_page_has_the_schedules_of_the_project_with_their_creators(
    sessions: Sessions, project: Project, user: User
) -> None:
    names = ["c", "a", "b"]
    for seconds, name in enumerate(names):
        made(sessions, project, user, replace(FIELDS, name=name), now=NOW + timedelta(seconds=seconds))

    with sessions() as session:
        count, rows = schedules.page(session, project.id, limit=2, offset=1)
        elsewhere = schedules.page(session, project.id + 1, limit=2)

    assert (count, [row.schedule.name for row in rows]) == (3, ["a", "b"])
    assert {row.creator_email for row in rows} == {"ada@example.com"}
    assert elsewhere == (0, [])


def test_schedules_of_other_projects_are_not_found(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)

    with sessions.begin() as session:
        assert schedules.get(session, schedule.id, project_id=project.id + 1) is None
        assert schedules.lock(session, schedule.id, project_id=project.id + 1) is None
        assert not schedules.remove(session, schedule.id, project_id=project.id + 1)
        assert schedules.remove(session, schedule.id, project_id=project.id)


def test_a_change_of_the_timing_starts_the_due_times_anew(
    sessions: Sessions, project: Project, user: User
) -> None:
    schedule, later = made(sessions, project, user), NOW + timedelta(seconds=45)
    with sessions.begin() as session:
        locked = schedules.lock(session, schedule.id)
        assert locked is not None
        schedules.change(session, locked, replace(FIELDS, timing=Timing(interval_seconds=600)), now=later)

    assert read(sessions, schedule).next_run_at == later + timedelta(seconds=600)


def test_a_change_of_the_name_leaves_the_due_time(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    with sessions.begin() as session:
        locked = schedules.lock(session, schedule.id)
        assert locked is not None
        schedules.change(session, locked, replace(FIELDS, name="Other"), now=NOW + timedelta(seconds=45))

    assert read(sessions, schedule).next_run_at == schedule.next_run_at


def test_a_due_time_is_used_up_by_one_of_many(sessions: Sessions, project: Project, user: User) -> None:
    schedule, now = made(sessions, project, user), NOW + timedelta(seconds=70)
    with sessions() as session:
        (seen,) = schedules.due(session, now)
    together, won = Barrier(6), []

    def try_once(number: int) -> None:
        together.wait(30)
        with sessions.begin() as session:
            if schedules.use_up(session, seen, now=now, job_id=f"job_{number}"):
                won.append(f"job_{number}")

    threads = [Thread(target=try_once, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    after = read(sessions, schedule)
    assert won == [after.last_job_id]
    assert (after.next_run_at, after.last_run_at) == (NOW + timedelta(seconds=120), now)


def test_missed_due_times_are_used_up_together(sessions: Sessions, project: Project, user: User) -> None:
    schedule, now = made(sessions, project, user), NOW + timedelta(hours=3)
    with sessions.begin() as session:
        (seen,) = schedules.due(session, now)
        schedules.use_up(session, seen, now=now, job_id="job_1")

    with sessions() as session:
        assert schedules.due(session, now) == []
    assert read(sessions, schedule).next_run_at == now + timedelta(seconds=60)


def test_a_run_that_is_left_out_is_counted(sessions: Sessions, project: Project, user: User) -> None:
    schedule, now = made(sessions, project, user), NOW + timedelta(seconds=70)
    with sessions.begin() as session:
        (seen,) = schedules.due(session, now)
        schedules.use_up(session, seen, now=now, job_id=None)

    after = read(sessions, schedule)
    assert (after.skipped_runs, after.last_run_at) == (1, None)
    assert after.next_run_at == NOW + timedelta(seconds=120)


def test_a_schedule_changed_meanwhile_is_not_run_at_its_old_time(
    sessions: Sessions, project: Project, user: User
) -> None:
    schedule, now = made(sessions, project, user), NOW + timedelta(seconds=70)
    with sessions() as session:
        (seen,) = schedules.due(session, now)
    with sessions.begin() as session:
        locked = schedules.lock(session, schedule.id)
        assert locked is not None
        schedules.change(session, locked, replace(FIELDS, enabled=False), now=now)

    with sessions.begin() as session:
        assert not schedules.use_up(session, seen, now=now, job_id="job_1")


def test_the_last_state_follows_the_last_run_only(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    first, last = ended(schedule, JobState.FAILED), ended(schedule, JobState.SUCCEEDED, after_s=1)
    with sessions.begin() as session:
        job_rows.record(session, [last])
        schedules.note_run(session, schedule.id, last.id, now=NOW)

    follow(sessions, schedule, [first])

    after = read(sessions, schedule)
    assert (after.last_job_id, after.last_state) == (last.id, "succeeded")


def test_the_fifth_failure_in_a_row_pauses(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    runs = [ended(schedule, JobState.FAILED, after_s=second) for second in range(5)]

    paused = [follow(sessions, schedule, [run]) for run in runs]

    after = read(sessions, schedule)
    assert paused == [[], [], [], [], [schedule.id]]
    assert (after.enabled, after.next_run_at, after.fire_at) == (False, None, None)
    assert after.consecutive_failures == 5


def test_a_run_that_is_recorded_twice_counts_once(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    run = ended(schedule, JobState.EXPIRED)

    for _ in range(6):
        follow(sessions, schedule, [run])

    after = read(sessions, schedule)
    assert (after.enabled, after.consecutive_failures) == (True, 1)


@pytest.mark.parametrize(("between", "streak"), [(JobState.SUCCEEDED, 2), (JobState.CANCELED, 5)])
def test_a_success_ends_the_streak_and_a_canceled_run_does_not(
    sessions: Sessions, project: Project, user: User, between: JobState, streak: int
) -> None:
    schedule = made(sessions, project, user)
    states = [*[JobState.FAILED] * 3, between, *[JobState.FAILED] * 2]

    follow(sessions, schedule, [ended(schedule, state, after_s=n) for n, state in enumerate(states)])

    assert read(sessions, schedule).consecutive_failures == streak


def test_switching_on_again_forgets_the_failures(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    follow(sessions, schedule, [ended(schedule, JobState.FAILED, after_s=n) for n in range(5)])
    later = NOW + timedelta(minutes=5)
    with sessions.begin() as session:
        locked = schedules.lock(session, schedule.id)
        assert locked is not None
        schedules.change(session, locked, FIELDS, now=later)

    paused = follow(sessions, schedule, [ended(schedule, JobState.FAILED, after_s=301)])

    after = read(sessions, schedule)
    assert (paused, after.enabled, after.consecutive_failures) == ([], True, 1)
    assert after.next_run_at == later + timedelta(seconds=60)


def test_a_user_who_is_removed_leaves_the_schedule(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    with sessions.begin() as session:
        session.delete(session.get_one(User, user.id))

    with sessions() as session:
        found = schedules.get(session, schedule.id, project_id=project.id)

    assert found is not None
    assert (found.schedule.created_by_id, found.creator_email) == (None, None)


def test_runs_that_have_not_ended_are_active(sessions: Sessions, project: Project, user: User) -> None:
    schedule = made(sessions, project, user)
    waiting = replace(ended(schedule, JobState.QUEUED), finished_at=None, created_at=time.time())

    follow(sessions, schedule, [ended(schedule, JobState.SUCCEEDED), waiting])

    with sessions() as session:
        assert list(schedules.active_runs(session, schedule.id)) == [waiting.id]


def test_the_period_of_a_schedule_is_known_while_it_is_there(
    sessions: Sessions, project: Project, user: User
) -> None:
    schedule = made(sessions, project, user)

    with sessions() as session:
        assert schedules.period_s(session, schedule.id, now=NOW) == 60
        assert schedules.period_s(session, "sch_gone", now=NOW) is None


def test_a_run_on_demand_that_has_ended_already_shows_its_end(
    sessions: Sessions, project: Project, user: User
) -> None:
    schedule = made(sessions, project, user)
    run = ended(schedule, JobState.SUCCEEDED)
    with sessions.begin() as session:
        job_rows.record(session, [run])
        schedules.note_run(session, schedule.id, run.id, now=NOW)

    after = read(sessions, schedule)
    assert (after.last_job_id, after.last_state, after.last_run_at) == (run.id, "succeeded", NOW)
