"""Connect an account, read phone numbers; refresh tokens that end, revoke those of removed integrations."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from jobs.json_text import load_json
from jobs.kinds import CONNECT, PHONE_NUMBERS, REVOKE_TOKENS
from jobs.records import JobResult
from jobs.runs import Run
from workers.base import run_job
from workers.metrics import TOKENS_REFRESHED, TOKENS_REVOKED
from workers.resources import Resources, process_resources
from workers.schedule import REFRESH_TOKENS

REFRESH_ALONE_S = 60  # longer than a refresh can take: a refresh token may work only once


@shared_task(name=CONNECT.task)
def connect(job_id: str) -> None:
    resources = process_resources()
    run_job(CONNECT, job_id, lambda run: _connect(run, resources), context=resources)


@shared_task(name=PHONE_NUMBERS.task)
def twilio_phone_numbers(job_id: str) -> None:
    resources = process_resources()
    run_job(PHONE_NUMBERS, job_id, lambda run: _phone_numbers(run, resources), context=resources)


@shared_task(name=REFRESH_TOKENS)
def refresh_tokens() -> None:
    resources = process_resources()
    for number in resources.connections.tokens_to_refresh():
        with resources.alone(f"refresh:{number}", seconds=REFRESH_ALONE_S) as chosen:
            if chosen:
                TOKENS_REFRESHED.labels(resources.connections.refresh(number)).inc()


@shared_task(name=REVOKE_TOKENS)
def revoke_tokens() -> None:
    resources = process_resources()
    for waiting in resources.connections.to_revoke():
        with resources.alone(f"revoke:{waiting.id}", seconds=REFRESH_ALONE_S) as chosen:
            if chosen:
                TOKENS_REVOKED.labels(resources.connections.revoke(waiting)).inc()


def _connect(run: Run, resources: Resources) -> JobResult:
    request = _payload(run)
    body = resources.connections.connect(run.record, request["kind"], request["sealed"])
    return JobResult(201, body)


def _phone_numbers(run: Run, resources: Resources) -> JobResult:
    request = _payload(run)
    body = resources.connections.phone_numbers(
        run.record.project_id, request["integration_id"], force=request["force"]
    )
    return JobResult(200, body)


def _payload(run: Run) -> dict[str, Any]:
    request: Any = load_json(run.take_payload())
    found: dict[str, Any] = request
    return found
