"""Run one job: take it, work, write the end. Errors become the job's failure here and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from jobs.errors import InternalError, JobFailure, TimedOut, TracegistError
from jobs.kinds import JobKind
from jobs.records import JobResult
from jobs.runs import NotStarted, Run, RunStore
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


def run_job(kind: JobKind, job_id: str, work: Callable[[Run], JobResult], *, context: JobContext) -> None:
    """Take the job, do its work, write its end. A delivery that may not run is dropped silently."""
    run = context.runs.start(job_id, kind.queue)
    if isinstance(run, NotStarted):
        JOBS_DROPPED.labels(kind.name, run.reason).inc()
        return
    structlog.contextvars.bind_contextvars(job_id=job_id, request_id=run.record.request_id)
    context.running.add(job_id)
    began = time.monotonic()
    try:
        with JOBS_RUNNING.labels(kind.name).track_inprogress():
            state = _work_and_finish(run, work, context)
    finally:
        context.running.remove(job_id)
        structlog.contextvars.clear_contextvars()
    JOB_SECONDS.labels(kind.name, state).observe(time.monotonic() - began)


def _work_and_finish(run: Run, work: Callable[[Run], JobResult], context: JobContext) -> JobState:
    try:
        result = work(run)
    except Canceled:
        return _finish(context.runs, run, JobState.CANCELED)
    except TracegistError as error:
        return _fail(context.runs, run, error)
    except SoftTimeLimitExceeded:
        return _fail(context.runs, run, TimedOut("The job took longer than it may.", code="job_timeout"))
    except Exception:
        log.exception("job_crashed", kind=run.record.kind)
        return _fail(context.runs, run, InternalError("Something went wrong on our side."))
    return _finish(context.runs, run, JobState.SUCCEEDED, result=result)


def _fail(runs: RunStore, run: Run, error: TracegistError) -> JobState:
    if error.status >= 500:
        error.extra.setdefault("request_id", run.record.request_id)
        log.info("job_failed", kind=run.record.kind, code=error.code)
    failure = JobFailure.of(error)
    result = JobResult(failure.status, failure.content(), failure.headers)
    return _finish(runs, run, JobState.FAILED, result=result, error=failure.body)


def _finish(
    runs: RunStore,
    run: Run,
    state: JobState,
    *,
    result: JobResult | None = None,
    error: dict[str, object] | None = None,
) -> JobState:
    """Write the end; while the store is away the result waits, because it may have been paid for."""
    for attempt in Retrying(
        retry=retry_if_exception_type(RedisError),
        wait=wait_exponential_jitter(multiplier=0.1, max=2),
        stop=stop_after_delay(STORE_PATIENCE_S),
        reraise=True,
    ):
        with attempt:
            runs.finish(run.record, state, result=result, error=error)
    return state
