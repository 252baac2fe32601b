"""What a logs worker holds open: the log store, and the gates before it.

The embedded store is opened once, in the one process of the queue `logs`, never before a fork. While it is
away the worker does not count as present, so no caller waits for an answer that cannot come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import structlog
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from cache.log_marks import LogMarks
from cache.log_turns import LogTurns
from config.settings import Settings
from jobs.errors import Throttled, TracegistError
from jobs.runs import Run
from workers.base import Canceled, RunningJobs
from workers.log_gathering import Gatherer, Part
from workers.logs.errors import QueryCanceled, StoreBusy, StoreUnavailable
from workers.logs.reading import Sight

if TYPE_CHECKING:
    from workers.logs.statement import Statement
    from workers.logs.store import LogStore

log = structlog.get_logger()

TURN_PATIENCE_S = 1.0
WAITING_TURNS = 4  # threads that may wait for a turn; others are refused at once
LARGE_UPLOAD_BYTES = 4 * 1_048_576
RETRY_AFTER_S = 2
QUIET_S = 1.0  # without inserts, after which it is worth to keep what is counted up to now
REPLICA_LAG_S = 10.0  # the same for a server: what is inserted is readable everywhere then


class LogRuntime:
    """The store and its gates; one for all threads of the process."""

    def __init__(
        self, settings: Settings, redis: Redis, running: RunningJobs, sessions: sessionmaker[Session]
    ) -> None:
        self.settings = settings
        self._running = running
        self._store: LogStore | None = None
        self._opening = threading.Lock()
        self._turns = LogTurns(
            redis, limit=settings.logs_project_queries, lease_s=settings.logs_query_timeout_s * 2
        )
        self._waiting = threading.BoundedSemaphore(WAITING_TURNS)
        self._uploads = threading.BoundedSemaphore(settings.logs_uploads)
        self.marks = LogMarks(redis)
        self.gatherer = Gatherer(sessions, self._insert_gathered)
        self._large_upload = threading.Lock()  # parsed, a large body takes many times its size

    @property
    def store(self) -> LogStore:
        """
        Raises:
            StoreUnavailable: not open yet.
        """
        if self._store is None:
            raise StoreUnavailable("The log store is starting.", retry_after_s=RETRY_AFTER_S)
        return self._store

    @property
    def quiet_s(self) -> float:
        """How long a project's records must be unchanged before what is counted of them is kept."""
        return QUIET_S if self.store.embedded else REPLICA_LAG_S

    def answers(self) -> bool:
        """Whether the store answers now; opens it when it is not open yet."""
        try:
            return self._opened().ping()
        except TracegistError as error:
            log.warning("log_store_not_open", reason=error.detail)
            return False

    def close(self) -> None:
        with self._opening:
            if self._store is not None:
                self._store.close()
                self._store = None

    @contextmanager
    def asking(self, run: Run) -> Iterator[Sight]:
        """A turn for one query of the project, which ends early when its caller no longer wants it.

        The time of the query begins now.

        Raises:
            Throttled: the project has as many queries at work as it may.
            Canceled: the query was stopped on request.
        """
        with self._turn(run.record.project_id), self._stoppable(run.record.id):
            deadline = time.monotonic() + self.settings.logs_query_timeout_s
            reader = _JobReader(self.store, run.record.project_id, run.record.id, deadline, self._running)
            yield Sight(reader, clock=time.monotonic, deadline=deadline, zone=UTC)

    def looking(self, project_id: int) -> Sight:
        """For housekeeping: no caller waits, so it takes no turn from those who do."""
        deadline = time.monotonic() + self.settings.logs_query_timeout_s
        reader = _ProjectReader(self.store, project_id, deadline)
        return Sight(reader, clock=time.monotonic, deadline=deadline, zone=UTC)

    @contextmanager
    def storing(self, size: int, *, patience_s: float) -> Iterator[None]:
        """Room for one upload of `size` bytes.

        Raises:
            StoreBusy: none within `patience_s`.
        """
        if not self._uploads.acquire(timeout=patience_s):
            raise StoreBusy("The log store is busy; send the same body again.", retry_after_s=RETRY_AFTER_S)
        try:
            if size < LARGE_UPLOAD_BYTES:
                yield
            else:
                with self._large_upload:
                    yield
        finally:
            self._uploads.release()

    def _opened(self) -> LogStore:
        with self._opening:
            if self._store is None:
                store = _open(self.settings)
                self.marks.new_epoch()
                self._store = store
                self._finish_gatherings()
            return self._store

    def _finish_gatherings(self) -> None:
        try:
            self.gatherer.finish_all()
        except TracegistError as error:
            # Nobody was told that they are stored; who sends one of them again finishes them.
            log.warning("log_gatherings_not_finished", reason=error.detail)

    def _insert_gathered(self, token: str, parts: Sequence[Part]) -> None:
        with ExitStack() as changes:
            for project_id in sorted({part.project_id for part in parts}):
                changes.enter_context(self.marks.changing(project_id))
            self.store.insert_gathered(token, [(part.project_id, part.batch, part.rows) for part in parts])

    @contextmanager
    def _turn(self, project_id: int) -> Iterator[None]:
        turn = self._taken_turn(project_id)
        if turn is None:
            limit = self.settings.logs_project_queries
            raise Throttled(
                f"The project has {limit} log queries at work already.", retry_after_s=RETRY_AFTER_S
            )
        try:
            yield
        finally:
            self._turns.give_back(project_id, turn)

    def _taken_turn(self, project_id: int) -> str | None:
        if not self._waiting.acquire(blocking=False):
            return self._turns.take(project_id, patience_s=0)
        try:
            return self._turns.take(project_id, patience_s=TURN_PATIENCE_S)
        finally:
            self._waiting.release()

    @contextmanager
    def _stoppable(self, job_id: str) -> Iterator[None]:
        with self._running.stopping(job_id, lambda: self._stop(job_id)):
            try:
                yield
            except QueryCanceled as error:
                raise Canceled from error

    def _stop(self, job_id: str) -> None:
        try:
            self.store.cancel(job_id)
        except TracegistError:
            log.warning("log_query_not_stopped", job_id=job_id)


@dataclass(frozen=True, slots=True)
class _JobReader:
    """Reads for one job: in its project only, in the time that it has left, until it is canceled."""

    store: LogStore
    project_id: int
    job_id: str
    deadline: float
    running: RunningJobs

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        self.running.raise_if_canceled(self.job_id)
        left_s = self.deadline - time.monotonic()
        return self.store.run(self.project_id, statement, deadline_s=left_s, query_id=self.job_id)


@dataclass(frozen=True, slots=True)
class _ProjectReader:
    """Reads in one project, in the time that is left."""

    store: LogStore
    project_id: int
    deadline: float

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        return self.store.run(self.project_id, statement, deadline_s=self.deadline - time.monotonic())


def _open(settings: Settings) -> LogStore:
    # The engine takes seconds to import, which only the worker that owns it should pay.
    from workers.logs.connections import EngineMemory
    from workers.logs.store import LogStore, StoreLimits

    limits = StoreLimits(
        memory_bytes=settings.logs_query_memory_bytes,
        read_bytes=settings.logs_read_bytes,
        threads=settings.logs_query_threads,
        engine=EngineMemory(total=settings.logs_memory_bytes),
    )
    store = LogStore.open(
        settings.effective_clickhouse_url, limits=limits, cluster=settings.clickhouse_cluster
    )
    store.migrate()
    return store
