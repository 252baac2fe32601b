"""Bulk jobs: begin one, work on a chunk of whichever job has its turn, look after all of them."""

from __future__ import annotations

from celery import current_app, shared_task

from jobs.kinds import BULK_TEND, LLM_BULK_QUEUE, MAINTENANCE_QUEUE, SUMMARIZATION_BULK
from workers.bulk.dispatch import WINDOW
from workers.queue_depth import queue_depth
from workers.resources import process_resources
from workers.schedule import BULK_BATCH, BULK_CHUNK

DUE_MESSAGE_S = 5  # a batch that is still due by then gets another message


@shared_task(name=SUMMARIZATION_BULK.task)
def begin_bulk(job_id: str) -> None:
    """The message of the job itself; sent again when the job was asked to stop."""
    _send(process_resources().dispatcher.begin(job_id))


@shared_task(name=BULK_CHUNK)
def work_on_chunk() -> None:
    """One message is one chunk; which one is decided now, so that all jobs get their share."""
    if process_resources().bulk.run_next():
        _send(1)


@shared_task(name=BULK_TEND)
def tend_bulk_jobs() -> None:
    resources = process_resources()
    with resources.alone("bulk") as chosen:
        takeable = resources.dispatcher.tend() if chosen else 0
    if takeable and not queue_depth(LLM_BULK_QUEUE):
        _send(min(takeable, WINDOW))

    for batch_id in resources.dispatcher.due_batches() if chosen else ():
        current_app.send_task(BULK_BATCH, args=[batch_id], queue=MAINTENANCE_QUEUE, expires=DUE_MESSAGE_S)


@shared_task(name=BULK_BATCH)
def attend_to_batch(batch_id: str) -> None:
    """One step with one batch at the provider; it is due again later, and nothing waits meanwhile."""
    process_resources().batches.step(batch_id)


def _send(chunks: int) -> None:
    for _ in range(chunks):
        current_app.send_task(BULK_CHUNK, queue=LLM_BULK_QUEUE)
