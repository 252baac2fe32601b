"""From rows to work and back: begin a bulk job, make its chunks available, see that it ends.

Every step may be repeated by anybody at any time. What the rows say decides; the store's lists follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog
from redis.exceptions import RedisError
from sqlalchemy.orm import Session, sessionmaker

from jobs.bulk import BulkOptions, error_outcome
from jobs.bulk_progress import bulk_progress
from jobs.chunks import Chunk, ChunksOf, ChunkStore
from jobs.errors import Unavailable
from jobs.events import EventPublisher
from jobs.json_text import dump_json
from jobs.packing import pack
from jobs.records import JobRecord, JobResult
from jobs.runs import RunStore
from jobs.states import JobState
from storage import batches as batch_rows
from storage import bulk as bulk_rows
from storage import bulk_steps
from storage import jobs as job_rows
from storage.bulk_steps import FinishedItem, Step
from workers.bulk.batch_phases import chunks_to_offer, last_chunks

log = structlog.get_logger()

WINDOW = 16  # messages that are sent at once; each chunk that ends sends the next one
ANNOUNCED_AT_ONCE = 500  # items
MOST_LOSSES = 5  # of one chunk without progress; then its items fail


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """`items_a_chunk` is the setting; a job with less concurrency has smaller chunks."""

    runs: RunStore
    chunks: ChunkStore
    events: EventPublisher
    sessions: sessionmaker[Session]
    keep_s: float
    queue_ttl_s: float
    items_a_chunk: int

    def begin(self, job_id: str) -> int:
        """Begin or go on with a job; for how many chunks a message is to be sent."""
        record = self.runs.get(job_id)
        if record is None:
            return 0
        late = time.time() > record.created_at + self.queue_ttl_s
        if record.state is JobState.QUEUED and late and not self._begun(job_id):
            self.runs.finish(record, JobState.EXPIRED, keep_s=self.keep_s)
            return 0
        if record.state is JobState.QUEUED:
            # Listeners hear of items that were refused at the door before any other.
            self._announce(job_id, bulk_rows.finished_positions)
        self.chunks.begin(record)
        return min(self.advance(job_id), WINDOW)

    def _begun(self, job_id: str) -> bool:
        """A job with batches may be a day old when the store forgets it; it is not new then."""
        with self.sessions() as session:
            return batch_rows.phase_of(session, job_id) is not None

    def advance(self, job_id: str) -> int:
        """End the job when its work is done or unwanted; else how many of its chunks may be taken now."""
        record = self.runs.get(job_id) or self._row(job_id)
        with self.sessions() as session:
            step = bulk_steps.state_of(session, job_id)
        if record is None or step is None:
            return 0
        if record.state.final:
            self._close(record)
            return 0
        if record.state is JobState.QUEUED:
            return 0
        if step.counters.done >= step.counters.total:
            # A chunk that is at work may not have told of its last rows: nobody hears of them after the end.
            if self.chunks.of(job_id).out <= 0:
                self._end(record, JobState.SUCCEEDED)
            return 0
        return self._go_on(record, step)

    def _go_on(self, record: JobRecord, step: Step) -> int:
        there = self.chunks.of(record.id)
        if record.cancel_requested:
            return self._wind_up(record, step, there)
        if there.waiting or there.out:
            return there.takeable
        with self.sessions.begin() as session:
            options = BulkOptions(**(bulk_rows.options_of(session, record.id) or {}))
            waiting = chunks_to_offer(session, record, options, now=time.time())
        return self._offer(record, step, options, waiting)

    def _wind_up(self, record: JobRecord, step: Step, there: ChunksOf) -> int:
        """End a job that was asked to stop; before that, finish what arrived in its batches."""
        if there.out:
            return 0
        with self.sessions.begin() as session:
            options = BulkOptions(**(bulk_rows.options_of(session, record.id) or {}))
            last = last_chunks(session, record.id, now=time.time())
        if last.expected:
            return 0
        if last.chunks:
            self.chunks.keep_arrived(record.id)
            return self._offer(record, step, options, last.chunks)
        if last.keeping and there.waiting:
            return there.takeable
        self._end(record, JobState.CANCELED)
        return 0

    def _offer(self, record: JobRecord, step: Step, options: BulkOptions, waiting: list[int]) -> int:
        if not waiting:
            return 0
        most = options.most_chunks(options.chunk_items(self.items_a_chunk))
        self.chunks.offer(record, waiting, most=most, calls=step.counters.llm_calls)
        self.show(Chunk(record.id, -1, ""), step, left=0)
        return self.chunks.of(record.id).takeable

    def show(self, chunk: Chunk, step: Step | None, *, left: int) -> None:
        """Publish the counters of a step; `left` items of the chunk are in hand."""
        counters = step.counters.to_json() if step else {}
        revision = step.revision if step else 0
        in_hand = self.chunks.progress(chunk, left=left, revision=revision, counters=counters)
        if step:
            self.events.progress(chunk.job_id, bulk_progress(counters, in_hand=in_hand, ended=False))

    def tend(self) -> int:
        """Take back what lost workers had, end what is done; how many chunks wait to be taken."""
        for lost in self.chunks.take_back_lost():
            log.warning("chunk_taken_over", job_id=lost.job_id, chunk=lost.number, losses=lost.losses)
            if lost.losses >= MOST_LOSSES:
                self._fail_lost(lost.job_id, lost.number)
        with self.sessions() as session:
            open_jobs = bulk_rows.open_jobs(session)
        return sum(self.advance(job_id) for job_id in open_jobs)

    def due_batches(self) -> list[str]:
        with self.sessions() as session:
            return batch_rows.due(session, now=time.time())

    def _end(self, record: JobRecord, state: JobState) -> None:
        with self.sessions.begin() as session:
            step = bulk_steps.end(session, record.id)
        if step is None:
            return
        if state is JobState.CANCELED:
            self._announce(record.id, bulk_rows.unfinished_positions)
        done = replace(record, state=state, counters=step.counters.to_json(), in_hand=0)
        result = None
        if state is JobState.SUCCEEDED:
            told = {"job_id": done.id, "progress": done.progress, "partial_failure": done.partial_failure}
            result = JobResult(200, dump_json(told))
        self.events.progress(done.id, done.progress)
        self.runs.finish(done, state, result=result, keep_s=self.keep_s)
        self.chunks.forget(done.id)

    def _announce(self, job_id: str, find: Callable[[Session, str], list[int]]) -> None:
        """Tell listeners of items that no chunk tells of."""
        with self.sessions() as session:
            found = find(session, job_id)
        for first in range(0, len(found), ANNOUNCED_AT_ONCE):
            announce_items(self.events, job_id, found[first : first + ANNOUNCED_AT_ONCE])

    def _close(self, record: JobRecord) -> None:
        """The job ended elsewhere: canceled or expired before it began."""
        with self.sessions.begin() as session:
            bulk_steps.end(session, record.id)
        self.chunks.forget(record.id)

    def _row(self, job_id: str) -> JobRecord | None:
        """The row counts when it has ended; a job that the store has lost is restored by others."""
        with self.sessions() as session:
            record = job_rows.get(session, job_id)
        return record if record is not None and record.state.final else None

    def _fail_lost(self, job_id: str, chunk: int) -> None:
        error = Unavailable("The worker was lost every time this item ran.", code="worker_lost")
        outcome = pack(error_outcome(error))
        with self.sessions.begin() as session:
            items = bulk_rows.waiting_items(session, job_id, chunk)
            failed = [FinishedItem(item.position, error.status, outcome) for item in items]
            bulk_steps.finish(session, job_id, failed)
        announce_items(self.events, job_id, [item.position for item in items])


def announce_items(events: EventPublisher, job_id: str, positions: Sequence[int]) -> None:
    """Tell listeners of the job which of its rows are there now."""
    try:
        events.items(job_id, positions)
    except RedisError:
        log.warning("items_not_announced", job_id=job_id)
