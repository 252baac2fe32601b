"""Records and short ways to move time along, for the tests in this folder."""

from __future__ import annotations

import time

import redis
from sqlalchemy.orm import Session, sessionmaker

from jobs import scripts
from jobs.kinds import RENDER_QUEUE
from jobs.records import JobRecord, JobResult, new_job_id
from jobs.runs import Run, RunStore

LEASE_S = 30.0
PAYLOAD = b'{"event_type": "$ai_trace"}'
RESULT = JobResult(200, b'{"text": "hello"}')

Sessions = sessionmaker[Session]


def new_record(**values: object) -> JobRecord:
    defaults: dict[str, object] = {
        "id": new_job_id(),
        "project_id": 1,
        "user_id": 1,
        "kind": "text_repr",
        "queue": RENDER_QUEUE,
        "created_at": time.time(),
    }
    return JobRecord(**{**defaults, **values})  # type: ignore[arg-type]


def started(runs: RunStore, record: JobRecord) -> Run:
    run = runs.start(record.id, record.queue)
    assert isinstance(run, Run)
    return run


def end_lease(client: redis.Redis, record: JobRecord) -> None:
    """As if the worker had been silent for longer than its lease."""
    client.zadd(scripts.RUNNING_KEY, {record.id: time.time() - 1}, xx=True)


def age_message(client: redis.Redis, record: JobRecord, seconds: float) -> None:
    """As if the message of the job had been sent so long ago."""
    client.zadd(scripts.queued_key(record.queue), {record.id: time.time() - seconds}, xx=True)
