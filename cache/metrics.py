"""Counters of the summary cache and of single flight; labels never hold ids."""

from __future__ import annotations

from prometheus_client import Counter

CACHE_REQUESTS = Counter("cache_requests_total", "Summary cache answers, by status.", ["status"])
SINGLE_FLIGHT = Counter("singleflight_total", "Executions by their part in a single flight.", ["role"])
TEXT_CACHE_REQUESTS = Counter("text_cache_requests_total", "Text cache reads, by status.", ["status"])
SPARKLINE_READS = Counter(
    "sparkline_cache_requests_total", "Reads of precomputed sparklines, by status.", ["status"]
)
