"""Start the runs of schedules that are due.

A due time is used up and the row of its run is written in one transaction, by whoever finds the due time
unused. The message comes after: a run whose message was never sent is a promised job without a live record,
which `take_over_lost_jobs` brings back. So each due time is run once, wherever a process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.orm import Session, sessionmaker

from jobs.records import JobRecord
from jobs.runs import RunStore
from jobs.schedules import SCHEDULABLE, run_record
from storage import jobs as job_rows
from storage import schedules
from storage.models import Schedule
from workers.metrics import SCHEDULE_LATENESS, SCHEDULE_RUNS

log = structlog.get_logger()

Send = Callable[[JobRecord], None]

BATCH = 1000  # of one second; what is left is started in the next


def fire_due(
    runs: RunStore, sessions: sessionmaker[Session], send: Send, *, now: datetime, result_ttl_s: float
) -> int:
    """Start what is due at `now`; how many runs were started."""
    with sessions() as session:
        waiting = schedules.due(session, now, limit=BATCH)
    started = 0
    for schedule in waiting:
        try:
            started += _fire(runs, sessions, send, schedule, now=now, result_ttl_s=result_ttl_s)
        except LookupError:
            # A zone or kind that this installation does not know must not keep back all other schedules.
            log.exception("schedule_not_fired", schedule_id=schedule.id)
    return started


def _fire(
    runs: RunStore,
    sessions: sessionmaker[Session],
    send: Send,
    schedule: Schedule,
    *,
    now: datetime,
    result_ttl_s: float,
) -> bool:
    """Whether a run was started: not when the one before is active, or another process was first."""
    work = SCHEDULABLE[schedule.kind]
    with sessions.begin() as session:
        if _is_active(runs, session, schedule):
            if schedules.use_up(session, schedule, now=now, job_id=None):
                SCHEDULE_RUNS.labels("skipped").inc()
                log.warning("scheduled_run_skipped", schedule_id=schedule.id)
            return False
        record = run_record(
            work.kind,
            schedule.id,
            project_id=schedule.project_id,
            user_id=schedule.created_by_id or 0,
            now=now,
            result_ttl_s=result_ttl_s,
        )
        if not schedules.use_up(session, schedule, now=now, job_id=record.id):
            return False
        payload = work.payload(schedule.request, now)
        job_rows.insert_promised(session, [job_rows.PromisedJob(record, payload)])
    if runs.restore(record, payload):
        send(record)
    SCHEDULE_RUNS.labels("started").inc()
    if schedule.fire_at is not None:
        SCHEDULE_LATENESS.observe(max(0.0, time.time() - schedule.fire_at.timestamp()))
    return True


def _is_active(runs: RunStore, session: Session, schedule: Schedule) -> bool:
    """Whether a run of the schedule waits or works. The live record decides; one that is lost is restored."""
    for job_id in schedules.active_runs(session, schedule.id):
        record = runs.get(job_id)
        if record is None or not record.state.final:
            return True
    return False
