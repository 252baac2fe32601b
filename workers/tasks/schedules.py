"""Start scheduled runs; beat sends this every second, from any number of beats."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import current_app, shared_task

from jobs.kinds import JOB_KINDS
from jobs.records import JobRecord
from workers.due_schedules import fire_due
from workers.resources import process_resources
from workers.schedule import FIRE_SCHEDULES


@shared_task(name=FIRE_SCHEDULES)
def fire_due_schedules() -> None:
    resources = process_resources()
    with resources.alone("schedules") as chosen:
        if chosen:
            fire_due(
                resources.runs,
                resources.sessions,
                _send,
                now=datetime.now(UTC),
                result_ttl_s=resources.settings.result_ttl_s,
            )


def _send(record: JobRecord) -> None:
    kind = JOB_KINDS[record.kind]
    current_app.send_task(kind.task, args=[record.id], queue=kind.queue)
