"""Answer a question about logs, jobs and summaries."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, tzinfo

import structlog
from celery import shared_task

from jobs.errors import TracegistError
from jobs.insight import InsightQuery, InsightRequest, parse_insight, zone_of
from jobs.json_text import dump_json, load_json
from jobs.kinds import INSIGHT
from jobs.records import JobResult
from jobs.runs import Run
from storage.insights import DatabaseReader
from storage.models import Project
from workers.base import run_job
from workers.insight.answer import Findings, run_query
from workers.insight.compile_logs import LogReader, known_names
from workers.insight.members import members_of
from workers.insight.planner import Plan, plan_by_keywords, plan_by_model, plan_without_model
from workers.insight.prompts import KnownNames
from workers.llm.model import CallScope
from workers.resources import Resources, process_resources

log = structlog.get_logger()

PLAN_S = 40  # less than the longest wait, so that the keyword parser can answer in the model's place
# Threads of the logs worker that may wait for a model; the others answer log queries meanwhile.
_model_waits = threading.BoundedSemaphore(4)


@shared_task(name=INSIGHT.task)
def insight(job_id: str) -> None:
    resources = process_resources()
    run_job(INSIGHT, job_id, lambda run: _answer(run, resources), context=resources)


def _answer(run: Run, resources: Resources) -> JobResult:
    began = time.monotonic()
    request = parse_insight(load_json(run.take_payload()))
    now, zone = datetime.now(UTC), zone_of(request.timezone) or UTC
    plan = _plan(request, run, resources, now=now, zone=zone)
    resources.running.raise_if_canceled(run.record.id)
    findings = _find(plan.query, run, resources, now=now, zone=zone)
    took_ms = (time.monotonic() - began) * 1000
    return JobResult(200, dump_json(members_of(request, plan, findings, took_ms=took_ms)))


def _plan(request: InsightRequest, run: Run, resources: Resources, *, now: datetime, zone: tzinfo) -> Plan:
    if not _model_allowed(run, resources):
        return plan_by_keywords(request, now=now, zone=zone)
    if not _model_waits.acquire(blocking=False):
        return plan_without_model(request, now=now, zone=zone)
    try:
        return _plan_by_model(request, run, resources, now=now, zone=zone)
    finally:
        _model_waits.release()


def _model_allowed(run: Run, resources: Resources) -> bool:
    """A provider is set up, and the project's data may be given to it."""
    settings = resources.settings
    if not (settings.openai_api_key and settings.ai_data_processing_approved):
        return False
    with resources.sessions() as session:
        project = session.get(Project, run.record.project_id)
        return project is not None and project.ai_data_processing_approved


def _plan_by_model(
    request: InsightRequest, run: Run, resources: Resources, *, now: datetime, zone: tzinfo
) -> Plan:
    settings, summaries, record = resources.settings, resources.summaries, run.record
    known = _known_names(run, resources)
    scope = CallScope(
        record.project_id,
        record.id,
        on_demand=True,
        deadline=time.monotonic() + min(settings.llm_deadline_s, PLAN_S),
    )

    async def planned() -> Plan:
        chat = summaries.chat(settings.default_model)
        return await plan_by_model(request, chat=chat, scope=scope, known=known, now=now, zone=zone)

    return summaries.run(planned())


def _known_names(run: Run, resources: Resources) -> KnownNames:
    """A help to the model; without the log store it does without."""
    try:
        with resources.logs.asking(run) as sight:
            return known_names(sight.reader)
    except TracegistError as error:
        log.info("known_names_not_read", code=error.code)
        return KnownNames()


def _find(query: InsightQuery, run: Run, resources: Resources, *, now: datetime, zone: tzinfo) -> Findings:
    project_id = run.record.project_id
    if query.source != "logs":
        return run_query(query, reader=DatabaseReader(resources.sessions, project_id), now=now, zone=zone)
    with resources.logs.asking(run) as sight:
        return run_query(query, reader=LogReader(sight.reader, project_id), now=now, zone=zone)
