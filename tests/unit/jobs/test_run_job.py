"""How the end of the work becomes the end of the job."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobs.errors import NotFound
from jobs.kinds import TEXT_REPR
from jobs.records import JobRecord, JobResult
from jobs.runs import NotStarted, Run
from jobs.states import JobState
from workers.base import Canceled, run_job

RECORD = JobRecord("job_1", 1, 1, "text_repr", "render", time.time(), request_id="request-1")


@dataclass
class Context:
    """Takes the place of the process's resources: one job, and what became of it."""

    start_as: Any = field(default_factory=lambda: Run(RECORD, b"{}"))
    ended: list[tuple[JobState, JobResult | None]] = field(default_factory=list)

    @property
    def runs(self) -> Any:
        return self

    @property
    def running(self) -> Any:
        return self

    def start(self, job_id: str, queue: str) -> Any:
        return self.start_as

    def finish(self, record: JobRecord, state: JobState, **outcome: Any) -> bool:
        self.ended.append((state, outcome.get("result")))
        return True

    def add(self, job_id: str) -> None:
        """The job is at work."""

    def remove(self, job_id: str) -> None:
        """It is no more."""


def run(work: Any, context: Context | None = None) -> Context:
    chosen = context or Context()
    run_job(TEXT_REPR, "job_1", work, context=chosen)  # type: ignore[arg-type]
    return chosen


def raising(error: BaseException) -> Any:
    def work(_run: Run) -> JobResult:
        raise error

    return work


def test_a_result_ends_the_job_well() -> None:
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
def test_an_error_ends_the_job_with_its_status(error: Exception, status: int, code: str) -> None:
    ((state, result),) = run(raising(error)).ended

    assert state is JobState.FAILED
    assert result is not None
    assert result.status == status
    assert f'"code":"{code}"'.encode() in result.content
    assert b"secret" not in result.content


def test_a_job_that_was_asked_to_stop_is_canceled() -> None:
    assert run(raising(Canceled())).ended == [(JobState.CANCELED, None)]


def test_a_delivery_of_a_job_that_has_ended_does_nothing() -> None:
    worked: list[Run] = []

    context = run(worked.append, Context(start_as=NotStarted("final")))

    assert (worked, context.ended) == ([], [])
