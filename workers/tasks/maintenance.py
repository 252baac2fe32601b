"""Housekeeping: take over lost jobs, remove old ones."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from celery import current_app, shared_task
from sqlalchemy.orm import Session

from jobs.kinds import JOB_KINDS
from jobs.records import JobRecord, job_id_at
from storage import bulk as bulk_rows
from storage import idempotency, log_uploads, summaries, webhooks
from storage import jobs as job_rows
from workers.queue_depth import queue_depth
from workers.resources import Resources, process_resources
from workers.schedule import RETENTION, TAKE_OVER
from workers.takeover import UNSTARTED_AFTER_S, send_again, take_over_lost

RETENTION_BATCH = 1000
LONGEST_UPLOAD_S = 6 * 3600


@shared_task(name=TAKE_OVER)
def take_over_lost_jobs() -> None:
    resources = process_resources()
    with resources.alone("take-over") as chosen:
        if not chosen:
            return
        take_over_lost(resources.runs, _send)
        send_again(resources.runs, _send, depth_of=queue_depth, queue_ttl_s=resources.settings.queue_ttl_s)
        _restore_promised(resources)


def _restore_promised(resources: Resources) -> None:
    """Promised jobs whose live record the store has lost start again from their row."""
    before, last = _ago(UNSTARTED_AFTER_S), None
    with resources.sessions() as session:
        while batch := job_rows.unfinished(session, created_before=before, after=last):
            for record in batch:
                if resources.runs.get(record.id) is None:
                    _restore(session, resources, record)
            last = batch[-1]


def _restore(session: Session, resources: Resources, record: JobRecord) -> None:
    promised = job_rows.load_promised(session, record.id)
    if promised is not None and resources.runs.restore(promised.record, promised.payload):
        _send(promised.record)


@shared_task(name=RETENTION)
def remove_old_jobs() -> None:
    resources = process_resources()
    before, removed = _ago(resources.settings.job_retention_s), RETENTION_BATCH
    while removed == RETENTION_BATCH:
        with resources.sessions.begin() as session:
            removed = job_rows.remove_older_than(session, before, limit=RETENTION_BATCH)
    with resources.sessions.begin() as session:
        idempotency.remove_older_than(session, datetime.now(UTC) - idempotency.KEPT)
        webhooks.remove_deliveries_older_than(session, before)
        log_uploads.remove_older_than(session, datetime.now(UTC) - log_uploads.KEPT)
    _remove_bulk_rows(resources)
    removed = RETENTION_BATCH
    while removed == RETENTION_BATCH:
        with resources.sessions.begin() as session:
            removed = summaries.remove_older_than(session, before, limit=RETENTION_BATCH)


def _remove_bulk_rows(resources: Resources) -> None:
    """Rows that are no longer kept, and items of uploads that died with their shim."""
    with resources.sessions() as session:
        gone = [
            *bulk_rows.removable(session, now=datetime.now(UTC)),
            *bulk_rows.abandoned(session, before_id=job_id_at(time.time() - LONGEST_UPLOAD_S)),
        ]
    for job_id in gone:
        with resources.sessions.begin() as session:
            bulk_rows.remove(session, job_id)


def _send(record: JobRecord) -> None:
    kind = JOB_KINDS[record.kind]
    current_app.send_task(kind.task, args=[record.id], queue=kind.queue)


def _ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
