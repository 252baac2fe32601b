"""Money as limits count it: whole billionths of a dollar, by day and by job."""

from __future__ import annotations

import time

PREFIX = "tg:{llm}"
NANO = 1_000_000_000  # whole numbers add up exactly
SPEND_KEPT_S = 7 * 86_400


def day_key(prefix: str) -> str:
    """What all projects spent today."""
    return f"{prefix}:spend:day:{time.strftime('%Y-%m-%d', time.gmtime())}"


def job_key(prefix: str, job_id: str | None) -> str:
    """What a job spent."""
    return f"{prefix}:spend:job:{job_id or '-'}"


def nano(usd: float) -> int:
    """Rounded up: a reservation never is smaller than what it stands for."""
    return -int(-usd * NANO // 1)
