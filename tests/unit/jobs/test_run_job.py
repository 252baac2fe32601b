"""How the end of the work becomes the end of the job, in a thread and on an event loop."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import ConnectionError as StoreAway

from jobs.errors import NotFound
from jobs.kinds import TEXT_REPR
from jobs.records import JobRecord, JobResult
from jobs.runs import NotStarted, Run
from jobs.states import JobState
from workers.base import Canceled, run_async_job, run_job

RECORD = JobRecord("job_1", 1, 1, "text_repr", "render", time.time(), request_id="request-1")


@dataclass
class Context:
    """Takes the place of the process's resources: one job, and what became of it."""

    start_as: Any = field(default_factory=lambda: Run(RECORD, b"{}"))
    ended: list[tuple[JobState, JobResult | None]] = field(default_factory=list)
    failures: int = 0  # how often the store fails to take the end
    at_work: set[str] = field(default_factory=set)

    @property
    def runs(self) -> Any:
        return self

    @property
    def async_runs(self) -> Any:
        return AsyncRuns(self)

    @property
    def running(self) -> Any:
        return self

    def start(self, job_id: str, queue: str) -> Any:
        return self.start_as

    def finish(self, record: JobRecord, state: JobState, **outcome: Any) -> bool:
        assert self.at_work == {record.id}
        if self.failures:
            self.failures -= 1
            raise StoreAway
        self.ended.append((state, outcome.get("result")))
        return True

    def add(self, job_id: str) -> None:
        self.at_work.add(job_id)

    def remove(self, job_id: str) -> None:
        self.at_work.remove(job_id)


@dataclass
class AsyncRuns:
    context: Context

    async def start(self, *arguments: Any) -> Any:
        return self.context.start(*arguments)

    async def finish(self, *arguments: Any, **outcome: Any) -> bool:
        return self.context.finish(*arguments, **outcome)


Work = Callable[[Run], JobResult]


def in_a_thread(work: Work, context: Context) -> None:
    run_job(TEXT_REPR, "job_1", work, context=context)  # type: ignore[arg-type]


def on_a_loop(work: Work, context: Context) -> None:
    async def awaited(run: Run) -> JobResult:
        return work(run)

    asyncio.run(run_async_job(TEXT_REPR, "job_1", awaited, context=context))  # type: ignore[arg-type]


@pytest.fixture(params=[in_a_thread, on_a_loop])
def run(request: pytest.FixtureRequest) -> Callable[..., Context]:
    def run(work: Any, context: Context | None = None) -> Context:
        chosen = context or Context()
        request.param(work, chosen)
        assert chosen.at_work == set()
        return chosen

    return run


def raising(error: BaseException) -> Any:
    def work(_run: Run) -> JobResult:
        raise error

    return work


def test_a_result_ends_the_job_well(run: Any) -> None:
    context = run(lambda _run: JobResult(200, b"{}"))

    assert context.ended == [(JobState.SUCCEEDED, JobResult(200, b"{}"))]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("gone"), 404, "not_found"),
        (SoftTimeLimitExceeded(), 504, "job_timeout"),
        (RuntimeError("a secret"), 500, "error"),
    ],
)
def test_an_error_ends_the_job_with_its_status(run: Any, error: Exception, status: int, code: str) -> None:
    ((state, result),) = run(raising(error)).ended

    assert state is JobState.FAILED
    assert result is not None
    assert result.status == status
    assert f'"code":"{code}"'.encode() in result.content
    assert b"secret" not in result.content


def test_a_job_that_was_asked_to_stop_is_canceled(run: Any) -> None:
    assert run(raising(Canceled())).ended == [(JobState.CANCELED, None)]


def test_a_result_waits_for_a_store_that_is_away(run: Any) -> None:
    context = run(lambda _run: JobResult(200, b"{}"), Context(failures=2))

    assert context.ended == [(JobState.SUCCEEDED, JobResult(200, b"{}"))]


def test_a_delivery_of_a_job_that_has_ended_does_nothing(run: Any) -> None:
    worked: list[Run] = []

    context = run(worked.append, Context(start_as=NotStarted("final")))

    assert (worked, context.ended) == ([], [])
