"""Run one job: take it, work, write the end. Errors become the job's failure here and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential_jitter,
)

from jobs.errors import InternalError, JobFailure, TimedOut, TracegistError
from jobs.kinds import JobKind
from jobs.records import JobResult
from jobs.runs import AsyncRunStore, NotStarted, Run, RunStore
from jobs.states import JobState
from workers.metrics import JOB_SECONDS, JOBS_DROPPED, JOBS_RUNNING

log = structlog.get_logger()

STORE_PATIENCE_S = 300  # how long a finished result waits for a store that is away


class Canceled(BaseException):
    """The job was asked to stop and has reached a point where it can.

    Not an Exception: it is no failure, so whoever waits for the same summary takes over instead of failing.
    """


@dataclass(slots=True)
class RunningJobs:
    """The jobs at work in this process; a thread renews their leases and learns who asked to stop."""

    runs: RunStore
    interval_s: float
    _ids: set[str] = field(default_factory=set)
    _canceled: set[str] = field(default_factory=set)
    _stoppers: dict[str, Callable[[], None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._renew_for_ever, name="job-leases", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def add(self, job_id: str) -> None:
        with self._lock:
            self._ids.add(job_id)

    def remove(self, job_id: str) -> None:
        with self._lock:
            self._ids.discard(job_id)
            self._canceled.discard(job_id)

    @contextmanager
    def stopping(self, job_id: str, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop`, in a thread of its own, when somebody asks the job to stop within the block."""
        with self._lock:
            self._stoppers[job_id] = stop
        try:
            yield
        finally:
            with self._lock:
                self._stoppers.pop(job_id, None)

    def raise_if_canceled(self, job_id: str) -> None:
        """
        Raises:
            Canceled: somebody asked the job to stop. Asks the store: a paid call may hang on it.
        """
        if job_id in self._canceled or self.runs.cancel_requested(job_id):
            raise Canceled

    def _renew_for_ever(self) -> None:
        while not self._stop.wait(self.interval_s):
            with self._lock:
                ids = set(self._ids)
            try:
                canceled = self.runs.renew(ids)
            except RedisError:
                log.warning("job_leases_not_renewed", jobs=len(ids))
                continue
            with self._lock:
                fresh = (canceled & self._ids) - self._canceled
                self._canceled |= fresh
                stops = [self._stoppers[job_id] for job_id in fresh if job_id in self._stoppers]
            for stop in stops:
                threading.Thread(target=stop, name="job-stop", daemon=True).start()


class JobContext(Protocol):
    """What running a job needs of the process (`workers.resources.Resources` has it)."""

    @property
    def runs(self) -> RunStore: ...

    @property
    def running(self) -> RunningJobs: ...


class AsyncJobContext(Protocol):
    """The same for a job on an event loop."""

    @property
    def async_runs(self) -> AsyncRunStore: ...

    @property
    def running(self) -> RunningJobs: ...


def run_job(kind: JobKind, job_id: str, work: Callable[[Run], JobResult], *, context: JobContext) -> None:
    """Take the job, do its work, write its end. A delivery that may not run is dropped silently."""
    run = context.runs.start(job_id, kind.queue)
    if isinstance(run, NotStarted):
        JOBS_DROPPED.labels(kind.name, run.reason).inc()
        return
    with _at_work(kind, run, context.running) as ending:
        try:
            ending.result = work(run)
        except (Exception, Canceled) as error:  # noqa: BLE001 - whatever it is, the job ends
            ending.of(error)
        for attempt in Retrying(**_PATIENCE):
            with attempt:
                context.runs.finish(run.record, ending.state, result=ending.result, error=ending.error)


async def run_async_job(
    kind: JobKind, job_id: str, work: Callable[[Run], Awaitable[JobResult]], *, context: AsyncJobContext
) -> None:
    """`run_job` on an event loop."""
    run = await context.async_runs.start(job_id, kind.queue)
    if isinstance(run, NotStarted):
        JOBS_DROPPED.labels(kind.name, run.reason).inc()
        return
    with _at_work(kind, run, context.running) as ending:
        try:
            ending.result = await work(run)
        except (Exception, Canceled) as error:  # noqa: BLE001 - whatever it is, the job ends
            ending.of(error)
        finish = partial(
            context.async_runs.finish, run.record, ending.state, result=ending.result, error=ending.error
        )
        try:
            await finish()  # tenacity takes as long as the rest of this function
        except RedisError:
            await AsyncRetrying(**_PATIENCE)(finish)


# While the store is away an end waits: it may have been paid for.
_PATIENCE: Final[dict[str, Any]] = {
    "retry": retry_if_exception_type(RedisError),
    "wait": wait_exponential_jitter(multiplier=0.1, max=2),
    "stop": stop_after_delay(STORE_PATIENCE_S),
    "reraise": True,
}


@dataclass(slots=True)
class _Ending:
    """How a job ends."""

    run: Run
    state: JobState = JobState.SUCCEEDED
    result: JobResult | None = None
    error: dict[str, object] | None = None

    def of(self, error: BaseException) -> None:
        """Take the end from what the work raised."""
        if isinstance(error, Canceled):
            self.state = JobState.CANCELED
        elif isinstance(error, TracegistError):
            self._fail(error)
        elif isinstance(error, SoftTimeLimitExceeded):
            self._fail(TimedOut("The job took longer than it may.", code="job_timeout"))
        else:
            log.error("job_crashed", kind=self.run.record.kind, exc_info=error)
            self._fail(InternalError("Something went wrong on our side."))

    def _fail(self, error: TracegistError) -> None:
        record = self.run.record
        if error.status >= 500:
            error.extra.setdefault("request_id", record.request_id)
            log.info("job_failed", kind=record.kind, code=error.code)
        failure = JobFailure.of(error)
        self.state = JobState.FAILED
        self.result = JobResult(failure.status, failure.content(), failure.headers)
        self.error = failure.body


@contextmanager
def _at_work(kind: JobKind, run: Run, running: RunningJobs) -> Iterator[_Ending]:
    """The job counts as running, and is named in the log, within the block."""
    ending = _Ending(run)
    began = time.monotonic()
    running.add(run.record.id)
    try:
        with (
            structlog.contextvars.bound_contextvars(job_id=run.record.id, request_id=run.record.request_id),
            JOBS_RUNNING.labels(kind.name).track_inprogress(),
        ):
            yield ending
    finally:
        running.remove(run.record.id)
    JOB_SECONDS.labels(kind.name, ending.state).observe(time.monotonic() - began)
