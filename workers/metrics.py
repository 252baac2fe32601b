"""Prometheus metrics of the worker processes. Labels never hold ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

JOB_SECONDS = Histogram("job_seconds", "Time from start to end of a job", ["kind", "state"])
JOBS_RUNNING = Gauge("jobs_running", "Jobs at work in this process", ["kind"])
JOBS_DROPPED = Counter("jobs_dropped", "Deliveries that were not run, by reason", ["kind", "reason"])
JOBS_TAKEN_OVER = Counter("jobs_taken_over", "Jobs of lost workers, by what became of them", ["outcome"])
SUMMARIES = Counter(
    "summaries_total",
    "Summaries by outcome: the cache status, or the code of the error",
    ["type", "mode", "provider", "outcome"],
)
LINE_REFS = Counter(
    "line_refs_total", "Line references of generated summaries, by what became of them", ["result"]
)
TOKENS_REFRESHED = Counter("tokens_refreshed_total", "Tokens that were due, by outcome", ["outcome"])
TOKENS_REVOKED = Counter("tokens_revoked_total", "Tokens of removed integrations, by outcome", ["outcome"])
WEBHOOK_DELIVERIES = Counter(
    "webhook_deliveries_total", "Attempts to deliver a webhook message, by outcome", ["outcome"]
)
JOBS_SENT_AGAIN = Counter("jobs_sent_again", "Messages sent again because no worker had started the job")
LOG_RECORDS = Counter(
    "log_records_total", "Log records of uploads: stored (or there already), or rejected", ["form", "outcome"]
)
LOG_ROLLUP_DRIFT = Counter(
    "log_rollup_drift_total", "Hours in which a rollup of the logs did not agree with the records", ["table"]
)
SPARKLINES_PRECOMPUTED = Counter(
    "sparklines_precomputed", "Usual sparklines of active projects that were counted ahead"
)
SCHEDULE_RUNS = Counter(
    "schedule_runs", "Due times of schedules, by what became of them: started or skipped", ["outcome"]
)
SCHEDULE_LATENESS = Histogram(
    "schedule_lateness_seconds", "Time from the moment a scheduled run should start to its start"
)
SCHEDULES_PAUSED = Counter("schedules_paused", "Schedules that were paused after failures in a row")
