"""Store log records, and answer questions about them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from celery import shared_task

from jobs.errors import TracegistError
from jobs.json_text import dump_json
from jobs.kinds import (
    LOGS_ATTRIBUTES,
    LOGS_CONTEXT,
    LOGS_COUNT,
    LOGS_EXPORT,
    LOGS_IMPORT,
    LOGS_INGEST,
    LOGS_QUERY,
    LOGS_REBUILD,
    LOGS_SPARKLINE,
    LOGS_VALUES,
    JobKind,
)
from jobs.log_payloads import Question, Upload, read_question, read_upload
from jobs.log_rebuild import parse_rebuild
from jobs.logs import (
    parse_attributes,
    parse_context,
    parse_count,
    parse_export,
    parse_query,
    parse_sparkline,
    parse_values,
)
from jobs.records import JobRecord, JobResult
from jobs.runs import Run
from storage import schedules
from workers.base import run_job
from workers.log_gathering import MAX_BYTES, MAX_ROWS, Part
from workers.log_runtime import LogRuntime
from workers.logs.answers import (
    Answer,
    answer_attributes,
    answer_context,
    answer_count,
    answer_export,
    answer_query,
    answer_values,
    as_object,
)
from workers.logs.batches import Batch
from workers.logs.reading import Sight
from workers.logs.records import Parsed
from workers.logs.uploads import parse_upload
from workers.metrics import LOG_RECORDS, LOG_ROLLUP_DRIFT, SPARKLINES_PRECOMPUTED
from workers.resources import Resources, process_resources
from workers.schedule import CHECK_LOGS, PRECOMPUTE_SPARKLINES, REMOVE_OLD_LOGS
from workers.sparklines import Stock, answer_and_store, answer_with_store, built_in_queries, precompute

log = structlog.get_logger()

HOUR = timedelta(hours=1)
CHECKED = timedelta(days=1)
REMOVAL_S = 6 * 3600  # the longest that a removal takes, on a server with many projects
# Of an export: whether further records match, and the `after` of the request for them.
MORE_HEADER = "X-Tracegist-More"
CURSOR_HEADER = "X-Tracegist-Cursor"
INGEST_PATIENCE_S = 5.0  # then the sender is asked to come back
IMPORT_PATIENCE_S = 300.0  # nobody waits, and nobody would send it again


@shared_task(name=LOGS_QUERY.task)
def query_logs(job_id: str) -> None:
    _ask(LOGS_QUERY, job_id, _query)


@shared_task(name=LOGS_SPARKLINE.task)
def sparkline_of_logs(job_id: str) -> None:
    _ask(LOGS_SPARKLINE, job_id, _sparkline)


@shared_task(name=LOGS_ATTRIBUTES.task)
def list_attributes(job_id: str) -> None:
    _ask(LOGS_ATTRIBUTES, job_id, _attributes)


@shared_task(name=LOGS_VALUES.task)
def list_values(job_id: str) -> None:
    _ask(LOGS_VALUES, job_id, _values)


@shared_task(name=LOGS_COUNT.task)
def count_logs(job_id: str) -> None:
    _ask(LOGS_COUNT, job_id, _count)


@shared_task(name=LOGS_CONTEXT.task)
def context_of_log(job_id: str) -> None:
    _ask(LOGS_CONTEXT, job_id, _context)


@shared_task(name=LOGS_EXPORT.task)
def export_logs(job_id: str) -> None:
    _run(LOGS_EXPORT, job_id, _export)


@shared_task(name=LOGS_INGEST.task)
def ingest_logs(job_id: str) -> None:
    _run(LOGS_INGEST, job_id, lambda run, logs: _store(run, logs, patience_s=INGEST_PATIENCE_S))


@shared_task(name=LOGS_IMPORT.task)
def import_logs(job_id: str) -> None:
    _run(LOGS_IMPORT, job_id, lambda run, logs: _store(run, logs, patience_s=IMPORT_PATIENCE_S))


@shared_task(name=LOGS_REBUILD.task)
def rebuild_rollups(job_id: str) -> None:
    _run(LOGS_REBUILD, job_id, _rebuild)


@shared_task(name=PRECOMPUTE_SPARKLINES)
def precompute_sparklines() -> None:
    """Count usual sparklines ahead for every project that has new records; one worker at a time for each."""
    resources = process_resources()
    now = datetime.now(UTC)
    for project_id in resources.logs.store.projects_with_records(now - HOUR):
        with resources.alone(f"sparklines:{project_id}") as chosen:
            if chosen:
                _precompute(resources, project_id)


def _precompute(resources: Resources, project_id: int) -> None:
    stock = _stock(resources, project_id)
    period_s = resources.settings.logs_precompute_interval_s
    now = datetime.now(UTC)
    for query in built_in_queries(now):
        try:
            precompute(query, resources.logs.looking(project_id), stock, now=now, period_s=period_s)
        except TracegistError as error:
            log.warning("sparkline_not_precomputed", project_id=project_id, code=error.code)
            return
        SPARKLINES_PRECOMPUTED.inc()


@shared_task(name=CHECK_LOGS)
def check_rollups() -> None:
    """Compare the closed hours of the last day with the records, and mend what differs."""
    resources = process_resources()
    with resources.alone("check-log-rollups") as chosen:
        if chosen:
            _check(resources.logs, datetime.now(UTC))


def _check(logs: LogRuntime, now: datetime) -> None:
    store = logs.store
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - CHECKED
    for project_id in store.projects_with_records(start):
        for drift in store.check_rollups(project_id, start, end):
            LOG_ROLLUP_DRIFT.labels(drift.table).inc()
            log.warning("log_rollup_drift", project_id=project_id, table=drift.table, missing=drift.missing)
            with logs.marks.changing(project_id):
                store.rebuild_rollup(project_id, drift.hour, drift.hour + HOUR)


@shared_task(name=REMOVE_OLD_LOGS)
def remove_old_records() -> None:
    """Remove the weeks of arrival that are over for longer than logs are kept."""
    resources = process_resources()
    kept = timedelta(days=resources.settings.logs_retention_days)
    with resources.alone("remove-old-logs", seconds=REMOVAL_S) as chosen:
        if chosen and kept:
            removed = resources.logs.store.remove_observed_before(datetime.now(UTC) - kept)
            if removed:
                resources.logs.marks.new_epoch()
                log.info("log_weeks_removed", weeks=removed)


def _rebuild(run: Run, logs: LogRuntime) -> JobResult:
    asked = read_question(run.take_payload())
    request = parse_rebuild(asked.asked, now=asked.now, timezone=UTC)
    project_id = run.record.project_id
    with logs.marks.changing(project_id):
        mended = logs.store.rebuild_rollup(project_id, request.date_from, request.date_to)
    return JobResult(200, dump_json({"mended": mended}))


def _query(asked: Question, sight: Sight, _: JobRecord) -> Answer:
    checkpoint = (
        process_resources().logs.store.checkpoint()
    )  # before the first read: what comes during it is for the next poll
    query = parse_query(asked.asked, now=asked.now, timezone=sight.zone)
    return answer_query(query, sight, checkpoint=checkpoint)


def _sparkline(asked: Question, sight: Sight, record: JobRecord) -> Answer:
    query = parse_sparkline(asked.asked, now=asked.now, timezone=sight.zone)
    stock = _stock(process_resources(), record.project_id)
    period_s = _period_s(record, now=asked.now)
    if period_s is not None:
        answer = answer_and_store(query, sight, stock, now=datetime.now(UTC), period_s=period_s)
    else:
        answer = answer_with_store(query, sight, stock, fresh=bool(asked.options.get("fresh")))
    return as_object(answer) if asked.options.get("as_object") else answer


def _stock(resources: Resources, project_id: int) -> Stock:
    logs = resources.logs
    return Stock(resources.sparklines, logs.marks, project_id, quiet_s=logs.quiet_s)


def _period_s(record: JobRecord, *, now: datetime) -> float | None:
    """How often the schedule of this run repeats it; None for a call, and when the schedule is gone."""
    if record.schedule_id is None:
        return None
    with process_resources().sessions() as session:
        return schedules.period_s(session, record.schedule_id, now=now)


def _attributes(asked: Question, sight: Sight, _: JobRecord) -> Answer:
    return answer_attributes(parse_attributes(asked.asked, now=asked.now, timezone=sight.zone), sight)


def _values(asked: Question, sight: Sight, _: JobRecord) -> Answer:
    return answer_values(parse_values(asked.asked, now=asked.now, timezone=sight.zone), sight)


def _count(asked: Question, sight: Sight, _: JobRecord) -> Answer:
    return answer_count(parse_count(asked.asked, now=asked.now, timezone=sight.zone), sight)


def _context(asked: Question, sight: Sight, _: JobRecord) -> Answer:
    return answer_context(parse_context(asked.asked), sight)


def _export(run: Run, logs: LogRuntime) -> JobResult:
    asked = read_question(run.take_payload())
    with logs.asking(run) as sight:
        query = parse_export(asked.asked, now=asked.now, timezone=sight.zone)
        export = answer_export(query, sight)
    headers = {"Content-Type": export.content_type, MORE_HEADER: str(export.rest is not None).lower()}
    if export.rest is not None:
        headers[CURSOR_HEADER] = export.rest.encode()
    return JobResult(200, export.content, headers)


def _ask(kind: JobKind, job_id: str, answer: Callable[[Question, Sight, JobRecord], Answer]) -> None:
    def work(run: Run, logs: LogRuntime) -> JobResult:
        asked = read_question(run.take_payload())
        with logs.asking(run) as sight:
            told = answer(asked, sight, run.record)
        return JobResult(200, dump_json(told.body), dict(told.headers))

    _run(kind, job_id, work)


def _run(kind: JobKind, job_id: str, work: Callable[[Run, LogRuntime], JobResult]) -> None:
    resources = process_resources()

    def told(run: Run) -> JobResult:
        try:
            return work(run, resources.logs)
        except TracegistError as error:
            error.extra.setdefault("error", error.detail)  # clients of the log routes read this member
            raise

    run_job(kind, job_id, told, context=resources)


def _store(run: Run, logs: LogRuntime, *, patience_s: float) -> JobResult:
    store, project_id = logs.store, run.record.project_id
    with logs.storing(len(run.payload), patience_s=patience_s):
        payload, received_at = run.take_payload(), datetime.now(UTC)
        upload = read_upload(payload)
        parsed = parse_upload(upload, received_at=received_at)
        batch = Batch.of(project_id, upload.body)
        # Of the body alone, so that it goes the same way when it is sent again.
        small = len(upload.body) <= MAX_BYTES and parsed.accepted <= MAX_ROWS
        if parsed.rows and not small:
            with logs.marks.changing(project_id):
                store.insert(project_id, batch, parsed.rows)
    if parsed.rows and small:
        logs.gatherer.store(Part(project_id, payload, received_at, batch, parsed.rows))
    LOG_RECORDS.labels(upload.form, "stored").inc(parsed.accepted)
    LOG_RECORDS.labels(upload.form, "rejected").inc(parsed.rejected)
    return JobResult(200, dump_json(_told(upload, parsed)))


def _told(upload: Upload, parsed: Parsed) -> dict[str, object]:
    """What became of the records; lines count from 1, records of OTLP from 0."""
    place = "line" if upload.form == "ndjson" else "position"
    errors = [{place: rejection.position, "error": rejection.reason} for rejection in parsed.rejections]
    return {"accepted": parsed.accepted, "rejected": parsed.rejected, "errors": errors}
