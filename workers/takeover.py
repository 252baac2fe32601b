"""Find jobs that no worker is working on although one should be, and bring them back.

Three ways to be lost: the worker died (its lease ran out), the message was lost (nobody started the job, and
the broker's queue is empty or younger jobs were started), the store lost the record of a promised job (its
row is still there).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from jobs.errors import JobFailure, Unavailable
from jobs.kinds import JOB_KINDS
from jobs.records import JobRecord, JobResult
from jobs.runs import RunStore
from jobs.states import JobState
from workers.metrics import JOBS_SENT_AGAIN, JOBS_TAKEN_OVER

log = structlog.get_logger()

Send = Callable[[JobRecord], None]

UNSTARTED_AFTER_S = 10  # a message that nobody took for so long, with an empty broker queue, is lost
OVERTAKEN_BY_S = 10  # and so is one that was sent so much earlier than that of a job already started


def take_over_lost(runs: RunStore, send: Send) -> int:
    """Jobs whose lease ran out go back to their queue, or fail after the last attempt."""
    taken = 0
    for job_id in runs.lost():
        record = runs.get(job_id)
        if record is None or record.state.final:
            runs.forget_lost(job_id)
            continue
        outcome = runs.requeue(record)
        if outcome == "requeued":
            send(record)
            taken += 1
            JOBS_TAKEN_OVER.labels("requeued").inc()
            log.warning("job_taken_over", job_id=job_id, kind=record.kind, attempt=record.attempt + 1)
        elif outcome == "exhausted":
            _fail_lost(runs, job_id)
    return taken


def send_again(runs: RunStore, send: Send, *, depth_of: Callable[[str], int], queue_ttl_s: float) -> int:
    """Jobs that wait although their message is lost get a new one; those that waited too long expire."""
    sent = 0
    for queue in sorted({kind.queue for kind in JOB_KINDS.values()}):
        for job_id in _unstarted(runs, queue, depth_of):
            record = runs.get(job_id)
            if record is None or record.state is not JobState.QUEUED:
                runs.forget_queued(queue, job_id)
            elif time.time() > record.created_at + queue_ttl_s and record.attempt == 1:
                runs.finish(record, JobState.EXPIRED)
            else:
                runs.sent_again(record)
                send(record)
                sent += 1
                JOBS_SENT_AGAIN.inc()
    return sent


def _unstarted(runs: RunStore, queue: str, depth_of: Callable[[str], int]) -> list[str]:
    """Jobs whose message seems to be lost. Wrong guesses cost a message that finds its job taken."""
    end = time.time() - UNSTARTED_AFTER_S
    waiting = runs.waiting_since(queue, end)
    if waiting and depth_of(queue):
        return runs.waiting_since(queue, min(end, runs.overtaken_before(queue, by_s=OVERTAKEN_BY_S)))
    return waiting


def _fail_lost(runs: RunStore, job_id: str) -> None:
    record = runs.get(job_id)
    if record is None or record.state is not JobState.RUNNING:
        return
    error = Unavailable(
        "The worker was lost every time this job ran.",
        code="worker_lost",
        extra={"request_id": record.request_id},
    )
    failure = JobFailure.of(error)
    result = JobResult(failure.status, failure.content(), failure.headers)
    runs.finish(record, JobState.FAILED, result=result, error=failure.body)
    JOBS_TAKEN_OVER.labels("failed").inc()
    log.error("job_failed_worker_lost", job_id=job_id, kind=record.kind, attempts=record.attempt)
