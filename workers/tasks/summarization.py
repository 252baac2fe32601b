"""Summarize a trace or event."""

from __future__ import annotations

import structlog
from celery import shared_task

from jobs.errors import InternalError, TracegistError
from jobs.json_text import dump_json, load_json
from jobs.kinds import SUMMARIZATION
from jobs.records import JobResult
from jobs.runs import Run
from jobs.summarization_request import parse_summarization
from workers.base import Canceled, run_async_job
from workers.orders import Order, explain
from workers.pool import runs_on
from workers.resources import Resources, process_resources
from workers.summaries import Prepared

log = structlog.get_logger()


@shared_task(name=SUMMARIZATION.task)
def summarization(job_id: str) -> None:
    """In a pool that knows no event loop."""
    process_resources().summaries.run(summarize(job_id))


async def summarize(job_id: str) -> None:
    """On the event loop of the process."""
    resources = process_resources()
    await run_async_job(SUMMARIZATION, job_id, lambda run: _summarize(run, resources), context=resources)


runs_on(lambda: process_resources().summaries, summarize, task=SUMMARIZATION.task)


async def _summarize(run: Run, resources: Resources) -> JobResult:
    job_id, raw_bytes = run.record.id, len(run.payload)
    summaries = resources.summaries

    def prepare() -> Prepared:
        return summaries.prepare(_order(run, resources))

    try:
        return JobResult(200, dump_json(await summaries.answer(prepare, raw_bytes)))
    except (TracegistError, Canceled) as error:
        if isinstance(error, TracegistError):
            explain(error, job_id)
        raise
    except Exception as error:
        log.exception("summary_crashed")
        fault = InternalError("Something went wrong on our side.", code="internal_error")
        explain(fault, job_id)
        raise fault from error


def _order(run: Run, resources: Resources) -> Order:
    record, raw_bytes = run.record, len(run.payload)
    settings = resources.settings
    request = parse_summarization(
        load_json(run.take_payload()),
        default_model=settings.default_model,
        models=(settings.summary_model, *settings.summary_models),
    )
    waited_for = request.on_llm_failure == "extractive" and not record.asynchronous
    return Order(
        request=request,
        raw_bytes=raw_bytes,
        project_id=record.project_id,
        job_id=record.id,
        arrived=record.created_at,
        forced_at=record.forced_at,
        check_canceled=lambda: resources.running.raise_if_canceled(record.id),
        wait_s=settings.sync_wait_s if waited_for else None,
    )
