"""Answer a question about logs, jobs and summaries."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo

from celery import shared_task

from jobs.errors import Unavailable
from jobs.insight import InsightRequest, Source, parse_insight, zone_of
from jobs.json_text import dump_json, load_json
from jobs.kinds import INSIGHT
from jobs.records import JobResult
from jobs.runs import Run
from storage.insights import DatabaseReader
from workers.base import run_job
from workers.insight.answer import RecordReader, run_query
from workers.insight.members import members_of
from workers.insight.planner import Plan, plan_by_keywords
from workers.resources import Resources, process_resources


@shared_task(name=INSIGHT.task)
def insight(job_id: str) -> None:
    resources = process_resources()
    run_job(INSIGHT, job_id, lambda run: _answer(run, resources), context=resources)


def _answer(run: Run, resources: Resources) -> JobResult:
    began = time.monotonic()
    request = parse_insight(load_json(run.take_payload()))
    now, zone = datetime.now(UTC), zone_of(request.timezone) or UTC
    plan = _plan(request, now=now, zone=zone)
    resources.running.raise_if_canceled(run.record.id)
    reader = _reader(plan.query.source, resources, run.record.project_id)
    findings = run_query(plan.query, reader=reader, now=now, zone=zone)
    took_ms = (time.monotonic() - began) * 1000
    return JobResult(200, dump_json(members_of(request, plan, findings, took_ms=took_ms)))


def _plan(request: InsightRequest, *, now: datetime, zone: tzinfo) -> Plan:
    return plan_by_keywords(request, now=now, zone=zone)


def _reader(source: Source, resources: Resources, project_id: int) -> RecordReader:
    if source == "logs":
        raise Unavailable("The log store cannot be reached; try again shortly.", retry_after_s=5)
    return DatabaseReader(resources.sessions, project_id)
