"""Schedules: what their owners set, when they are due, and how their runs went.

Due times are in the rows, so a restart neither skips nor doubles one: a due time is used up by comparing
`fire_at` with what was read, and setting it to the next, in one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import ColumnElement, CursorResult, Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.due_times import Timing, due_after, first_due, jitter, period
from jobs.errors import ValidationFailed
from jobs.schedules import FAILURES_UNTIL_PAUSED, ScheduleFields, new_schedule_id
from jobs.states import FINAL_STATES, JobState
from storage.models import JobRow, Schedule, User
from storage.session import lock_writes

_FAILURES: Final = (JobState.FAILED, JobState.EXPIRED)
_RUNS_LOOKED_AT: Final = 100  # the streak of failures is counted up to here


@dataclass(frozen=True, slots=True)
class Listed:
    """A schedule with the email of its creator, who may be gone."""

    schedule: Schedule
    creator_email: str | None


def insert(
    session: Session, fields: ScheduleFields, *, project_id: int, user_id: int, now: datetime
) -> Schedule:
    """
    Raises:
        ValidationFailed: the project has a schedule of this name. The transaction is lost then.
    """
    schedule = Schedule(
        id=new_schedule_id(),
        project_id=project_id,
        created_by_id=user_id,
        consecutive_failures=0,
        skipped_runs=0,
        failures_since=now,
        created_at=now,
    )
    _set(schedule, fields)
    _start(schedule, now)
    session.add(schedule)
    _flush(session)
    return schedule


def page(session: Session, project_id: int, *, limit: int, offset: int = 0) -> tuple[int, list[Listed]]:
    """The number of schedules in the project, and one page of them, oldest first."""
    own = Schedule.project_id == project_id
    count = session.scalar(select(func.count()).select_from(Schedule).where(own)) or 0
    if offset >= count:
        return count, []
    rows = _listing(own).order_by(Schedule.created_at, Schedule.id).limit(limit).offset(offset)
    return count, [Listed(schedule, email) for schedule, email in session.execute(rows)]


def get(session: Session, schedule_id: str, *, project_id: int) -> Listed | None:
    own = _listing(Schedule.id == schedule_id, Schedule.project_id == project_id)
    row = session.execute(own).one_or_none()
    return None if row is None else Listed(*row)


def fields_of(schedule: Schedule) -> ScheduleFields:
    return ScheduleFields(
        name=schedule.name,
        kind=schedule.kind,
        request=schedule.request,
        timing=timing_of(schedule),
        enabled=schedule.enabled,
    )


def timing_of(schedule: Schedule) -> Timing:
    return Timing(schedule.interval_seconds, schedule.cron, schedule.timezone)


def change(session: Session, schedule: Schedule, fields: ScheduleFields, *, now: datetime) -> None:
    """Give a schedule that `lock` has read these fields. Its due times start anew when its timing changed.

    Raises:
        ValidationFailed: the project has another schedule of this name. The transaction is lost then.
    """
    before = fields_of(schedule)
    _set(schedule, fields)
    if fields.enabled and not before.enabled:
        schedule.failures_since, schedule.consecutive_failures = now, 0
    if (fields.timing, fields.enabled) != (before.timing, before.enabled):
        _start(schedule, now)
    _flush(session)


def lock(session: Session, schedule_id: str, *, project_id: int | None = None) -> Schedule | None:
    """The schedule, held against changes by others until the transaction ends."""
    if session.get_bind().dialect.name == "sqlite":
        lock_writes(session)  # it has no locks on rows
    chosen = select(Schedule).where(Schedule.id == schedule_id)
    if project_id is not None:
        chosen = chosen.where(Schedule.project_id == project_id)
    return session.scalar(chosen.with_for_update(), execution_options={"populate_existing": True})


def remove(session: Session, schedule_id: str, *, project_id: int) -> bool:
    """Remove a schedule; whether there was one. Its runs stay."""
    chosen = delete(Schedule).where(Schedule.id == schedule_id, Schedule.project_id == project_id)
    return _changed(session, chosen) == 1


# dispatch ------------------------------------------------------------------------------------------


def due(session: Session, now: datetime, *, limit: int = 100) -> Sequence[Schedule]:
    """Schedules whose start has come, the longest waiting first."""
    chosen = select(Schedule).where(Schedule.fire_at <= now, Schedule.enabled)
    return session.scalars(chosen.order_by(Schedule.fire_at, Schedule.id).limit(limit)).all()


def use_up(session: Session, seen: Schedule, *, now: datetime, job_id: str | None) -> bool:
    """Move a schedule on to the due time that follows; whether its present one was still there to be used.

    `job_id` is the run that it starts; None: it is left out, because the run before is still active.
    """
    timing = timing_of(seen)
    following = due_after(timing, seen.next_run_at or now, now=now)
    values: dict[str, Any] = {
        "next_run_at": following,
        "fire_at": following + jitter(seen.id, timing, following),
    }
    if job_id is None:
        values["skipped_runs"] = Schedule.skipped_runs + 1
    else:
        values |= {"last_run_at": now, "last_job_id": job_id, "last_state": str(JobState.QUEUED)}
    chosen = update(Schedule).where(
        Schedule.id == seen.id, Schedule.fire_at == seen.fire_at, Schedule.enabled
    )
    return _changed(session, chosen.values(**values)) == 1


def note_run(session: Session, schedule_id: str, job_id: str, *, now: datetime) -> None:
    """A run outside of the due times, which may have ended by now."""
    schedule = lock(session, schedule_id)
    run = session.get(JobRow, job_id, populate_existing=True)
    if schedule is not None and run is not None:
        schedule.last_run_at, schedule.last_job_id, schedule.last_state = now, run.id, run.state


def period_s(session: Session, schedule_id: str, *, now: datetime) -> float | None:
    """Seconds from one due time to the next; None when the schedule is gone."""
    schedule = session.get(Schedule, schedule_id)
    return None if schedule is None else period(timing_of(schedule), now=now).total_seconds()


def active_runs(session: Session, schedule_id: str) -> Sequence[str]:
    """Ids of runs that have not ended as far as their rows tell; the live records may be ahead."""
    active = JobRow.state.in_((JobState.QUEUED, JobState.RUNNING))
    return session.scalars(select(JobRow.id).where(JobRow.schedule_id == schedule_id, active)).all()


def follow_runs(session: Session, schedule_ids: Collection[str]) -> list[Schedule]:
    """Bring schedules up to date with the rows of their runs; those that are paused by this.

    Everything is taken from the rows, so doing it twice, or in two processes, changes nothing.
    """
    paused = []
    for schedule_id in sorted(schedule_ids):
        schedule = lock(session, schedule_id)
        if schedule is None:
            continue
        last = session.get(JobRow, schedule.last_job_id or "", populate_existing=True)
        if last is not None:
            schedule.last_state = last.state
        schedule.consecutive_failures = _failures_in_a_row(session, schedule)
        if schedule.enabled and schedule.consecutive_failures >= FAILURES_UNTIL_PAUSED:
            schedule.enabled, schedule.next_run_at, schedule.fire_at = False, None, None
            paused.append(schedule)
    session.flush()
    return paused


def _failures_in_a_row(session: Session, schedule: Schedule) -> int:
    """How many of the last runs failed; canceled ones say nothing either way."""
    ended = (
        select(JobRow.state)
        .where(
            JobRow.schedule_id == schedule.id,
            JobRow.state.in_(FINAL_STATES - {JobState.CANCELED}),
            JobRow.created_at >= schedule.failures_since,
        )
        .order_by(JobRow.created_at.desc(), JobRow.id.desc())
        .limit(_RUNS_LOOKED_AT)
    )
    return sum(1 for _ in takewhile(lambda state: state in _FAILURES, session.scalars(ended)))


def _set(schedule: Schedule, fields: ScheduleFields) -> None:
    schedule.name, schedule.kind, schedule.request = fields.name, fields.kind, fields.request
    schedule.interval_seconds = fields.timing.interval_seconds
    schedule.cron, schedule.timezone = fields.timing.cron, fields.timing.timezone
    schedule.enabled = fields.enabled


def _start(schedule: Schedule, now: datetime) -> None:
    """Set the first due time; none when the schedule is paused."""
    schedule.next_run_at = schedule.fire_at = None
    if schedule.enabled:
        timing = timing_of(schedule)
        schedule.next_run_at = first_due(timing, now=now)
        schedule.fire_at = schedule.next_run_at + jitter(schedule.id, timing, schedule.next_run_at)


def _listing(*conditions: ColumnElement[bool]) -> Select[Schedule, str | None]:
    joined = select(Schedule, User.email).outerjoin(User, User.id == Schedule.created_by_id)
    return joined.where(*conditions)


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise ValidationFailed(
            "There is a schedule of this name already.", attr="name", code="unique"
        ) from error


def _changed(session: Session, statement: Any) -> int:
    result = session.execute(statement.execution_options(synchronize_session=False))
    return result.rowcount if isinstance(result, CursorResult) else 0
