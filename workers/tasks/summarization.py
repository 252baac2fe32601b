"""Summarize a trace or event."""

from __future__ import annotations

import structlog
from celery import shared_task

from jobs.errors import InternalError, TracegistError
from jobs.json_text import dump_json, load_json
from jobs.kinds import SUMMARIZATION
from jobs.records import JobResult
from jobs.runs import Run
from jobs.summarization_request import SummarizationRequest, parse_summarization
from workers.base import Canceled, run_job
from workers.orders import Order, explain
from workers.resources import Resources, process_resources

log = structlog.get_logger()


@shared_task(name=SUMMARIZATION.task)
def summarization(job_id: str) -> None:
    resources = process_resources()
    run_job(SUMMARIZATION, job_id, lambda run: _summarize(run, resources), context=resources)


def _summarize(run: Run, resources: Resources) -> JobResult:
    record = run.record
    raw_bytes = len(run.payload)
    request = _request(run, resources)
    waited_for = request.on_llm_failure == "extractive" and not record.asynchronous
    order = Order(
        request=request,
        raw_bytes=raw_bytes,
        project_id=record.project_id,
        job_id=record.id,
        arrived=record.created_at,
        forced_at=record.forced_at,
        check_canceled=lambda: resources.running.raise_if_canceled(record.id),
        wait_s=resources.settings.sync_wait_s if waited_for else None,
    )
    try:
        return JobResult(200, dump_json(resources.summaries.answer(order)))
    except (TracegistError, Canceled) as error:
        if isinstance(error, TracegistError):
            explain(error, record.id)
        raise
    except Exception as error:
        log.exception("summary_crashed")
        fault = InternalError("Something went wrong on our side.", code="internal_error")
        explain(fault, record.id)
        raise fault from error


def _request(run: Run, resources: Resources) -> SummarizationRequest:
    settings = resources.settings
    return parse_summarization(
        load_json(run.take_payload()),
        default_model=settings.default_model,
        models=(settings.summary_model, *settings.summary_models),
    )
