"""Which chunks of a bulk job are to be worked on now, given its way through a provider's batch interface.

Each step may be repeated by anybody; the move from one phase to the next is made by one.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy.orm import Session

from jobs.bulk import BulkOptions, read_ask
from jobs.records import JobRecord
from storage import batches as batch_rows
from storage import bulk as bulk_rows
from workers.llm.batch_lines import split

LEAST_FOR_AUTO = 200


@dataclass(frozen=True, slots=True)
class LastChunks:
    """Of a canceled job. `expected`: answers may still come. `chunks` hold answers that are to be finished.

    `keeping`: such chunks were offered before.
    """

    expected: bool
    chunks: list[int]
    keeping: bool


def chunks_to_offer(session: Session, record: JobRecord, options: BulkOptions, *, now: float) -> list[int]:
    """None of the job's chunks is waiting or at work. Empty: its batches are under way."""
    job_id = record.id
    phase = None if options.batch_api == "never" else batch_rows.phase_of(session, job_id)
    if phase is None:
        if options.batch_api == "never" or not _wanted(session, job_id, options):
            return bulk_rows.waiting_chunks(session, job_id)
        batch_rows.move(session, job_id, [None], "prepare")
        phase = "prepare"
    if phase == "prepare":
        if unprepared := batch_rows.unprepared_chunks(session, job_id):
            return unprepared
        if batch_rows.move(session, job_id, ["prepare"], "open"):
            _make_batches(session, record, options, now=now)
    if batch_rows.any_open(session, job_id):
        return []
    batch_rows.move(session, job_id, ["open"], "live")
    return bulk_rows.waiting_chunks(session, job_id)


def last_chunks(session: Session, job_id: str, *, now: float) -> LastChunks:
    if batch_rows.stop(session, job_id, now=now):
        return LastChunks(True, [], False)
    if batch_rows.phase_of(session, job_id) == "keep":
        return LastChunks(False, [], True)
    answered = batch_rows.answered_chunks(session, job_id)
    if answered and batch_rows.move(session, job_id, ["open", "live"], "keep"):
        return LastChunks(False, answered, True)
    return LastChunks(False, [], False)


def _wanted(session: Session, job_id: str, options: BulkOptions) -> bool:
    if options.batch_api == "always":
        return True
    asks = list(batch_rows.unfinished_asks(session, job_id))
    if len(asks) >= LEAST_FOR_AUTO and not any(read_ask(ask).force_refresh for ask in asks):
        return True
    batch_rows.move(session, job_id, [None], "live")
    return False


def _make_batches(session: Session, record: JobRecord, options: BulkOptions, *, now: float) -> None:
    """Requests past the cap on calls go without a batch, where they meet the cap."""
    for requests in split(batch_rows.unsent(session, record.id)[: options.max_llm_calls]):
        batch_rows.insert_batch(
            session,
            f"bat_{uuid.uuid4().hex}",
            job_id=record.id,
            project_id=record.project_id,
            requests=requests,
            now=now,
        )
