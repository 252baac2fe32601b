"""Render a trace or event as text."""

from __future__ import annotations

from dataclasses import replace

from celery import shared_task

from cache.keys import content_fp, text_key
from jobs.json_text import dump_json, load_json
from jobs.kinds import TEXT_REPR
from jobs.records import JobResult
from jobs.runs import Run
from jobs.text_repr import answer_of, parse_text_repr
from workers.base import run_job
from workers.resources import Resources, process_resources
from workers.text_repr import render


# Past the limit the job fails; a process that does not react to that is killed, and the job taken over.
@shared_task(
    name=TEXT_REPR.task, soft_time_limit=TEXT_REPR.time_limit_s, time_limit=TEXT_REPR.time_limit_s + 30
)
def text_repr(job_id: str) -> None:
    resources = process_resources()
    run_job(TEXT_REPR, job_id, lambda run: _render(run, resources), context=resources)


def _render(run: Run, resources: Resources) -> JobResult:
    request = parse_text_repr(load_json(run.take_payload()))
    key = text_key(
        run.record.project_id,
        request.event_type,
        request.entity_id,
        options=request.options,
        data_fp=content_fp(request.data),
    )
    rendering = render(request.event_type, request.data, request.options)
    request = replace(request, data={})  # a large trace is not held while its text is packed
    body = dump_json(answer_of(request, text=rendering.text, truncated=rendering.truncated))
    resources.texts.put(key, body)
    return JobResult(200, body)
