"""Write the rows of jobs, paid answers and summaries: from streams in Redis, off everybody's path.

A job that has ended is told to the webhooks in the same transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs import answered
from jobs.records import JobRecord
from jobs.runs import RunStore
from storage import jobs as job_rows
from storage import schedules, summaries, webhooks
from workers import ledger
from workers.announcements import announce_paused

log = structlog.get_logger()

READ_AT_ONCE = 500
PAUSE_S = 0.1  # entries that come meanwhile share a transaction
AFTER_FAULT_S = 1.0
ANSWER_BATCHES = 5  # each holds some hundred rows


class Recorder:
    """A thread of the maintenance worker. Several may run: writing a row twice changes nothing."""

    def __init__(
        self,
        runs: RunStore,
        sessions: sessionmaker[Session],
        *,
        base_url: str = "",
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`base_url` begins the links in webhook messages; `told` is called when there are new ones."""
        self._runs = runs
        self._sessions = sessions
        self._base_url = base_url
        self._told = told
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def write_once(self) -> int:
        """Write what job journal, ledger and summaries hold now; the number of entries dealt with."""
        entries, records = self._runs.journal(READ_AT_ONCE)
        booked, bookings = self._runs.stream(ledger.STREAM, READ_AT_ONCE)
        try:
            self._write(records, bookings)
        except (DataError, IntegrityError):
            # One entry that no row can hold must not keep back all that come after it.
            self._write_singly(records, bookings)
        self._runs.written(entries)
        self._runs.written(booked, stream=ledger.STREAM)
        return len(entries) + len(booked) + self._write_answers()

    def _write(self, records: Sequence[JobRecord], bookings: Sequence[bytes]) -> None:
        if not records and not bookings:
            return
        with self._sessions.begin() as session:
            job_rows.record(session, records)
            scheduled = {record.schedule_id for record in records if record.schedule_id}
            paused = schedules.follow_runs(session, scheduled)
            ledger.write(session, [ledger.read(raw) for raw in bookings])
            # With the row or not at all: a webhook hears of every end, and of each once.
            now = datetime.now(UTC)
            messages = webhooks.tell_of_jobs(session, records, base_url=self._base_url, now=now)
            messages += announce_paused(session, paused, base_url=self._base_url, now=now)
        if messages:
            self._told()

    def _write_answers(self) -> int:
        entries, batches = self._runs.stream(answered.STREAM, ANSWER_BATCHES)
        for batch in batches:
            try:
                with self._sessions.begin() as session:
                    summaries.record_all(session, answered.read_entry(batch))
            except (DataError, IntegrityError):
                log.error("summary_rows_refused")
        self._runs.written(entries, stream=answered.STREAM)
        return len(entries)

    def _write_singly(self, records: Sequence[JobRecord], bookings: Sequence[bytes]) -> None:
        for record in records:
            try:
                self._write([record], [])
            except (DataError, IntegrityError):
                log.error("job_row_refused", job_id=record.id)
        for booking in bookings:
            try:
                self._write([], [booking])
            except (DataError, IntegrityError):
                log.error("booking_refused")

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = 0.0 if self.write_once() >= READ_AT_ONCE else PAUSE_S
            except (RedisError, SQLAlchemyError) as error:
                # The entries stay in the journal; they are written when both are back.
                log.warning("job_rows_not_written", error=type(error).__name__)
                pause = AFTER_FAULT_S
