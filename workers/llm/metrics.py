"""Prometheus metrics of calls to a model. Labels never carry ids; models come from the allow-list."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("llm_requests_total", "Requests to the provider.", ["model", "outcome"])
SECONDS = Histogram(
    "llm_seconds",
    "Time of one request to the provider.",
    ["model"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120),
)
TOKENS = Counter("llm_tokens_total", "Tokens of paid answers.", ["model", "kind"])
COST = Counter("llm_cost_usd_total", "Cost of paid answers in US dollars.", ["model"])
RETRIES = Counter("llm_retries_total", "Requests made again.", ["reason"])
INFLIGHT = Gauge("llm_inflight", "Requests in flight in this process.")
LIMITER_WAIT = Histogram(
    "llm_limiter_wait_seconds",
    "Time from asking for room in the rate limits to having it.",
    buckets=(0.01, 0.05, 0.25, 1, 5, 15, 60, 300),
)
BREAKER_STATE = Gauge("breaker_state", "Circuit breaker: 0 closed, 1 open.", ["model"])
PAID_DISCARDED = Counter("paid_discarded_total", "Paid answers that could not be used.", ["model"])
JOURNAL_REPLAYS = Counter("llm_journal_replays_total", "Paid answers read again instead of asked for again.")
RESUMES = Counter("llm_resumes_total", "Calls in the background that were taken over from another execution.")
