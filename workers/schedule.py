"""What beat sends, and how often. Any number of beats may run: every task here is harmless when repeated."""

from __future__ import annotations

from typing import Any

from jobs.kinds import BULK_TEND, LOGS_QUEUE, MAINTENANCE_QUEUE, REVOKE_TOKENS

TAKE_OVER = "tracegist.take_over_lost_jobs"
RETENTION = "tracegist.remove_old_jobs"
BULK_CHUNK = "tracegist.summarization.bulk_chunk"  # sent by the bulk tasks themselves
BULK_BATCH = "tracegist.summarization.bulk_batch"  # sent when a batch is due
REFRESH_TOKENS = "tracegist.integrations.refresh_tokens"
PRECOMPUTE_SPARKLINES = "tracegist.logs.precompute_sparklines"
CHECK_LOGS = "tracegist.logs.check_rollups"
REMOVE_OLD_LOGS = "tracegist.logs.remove_old_records"
FIRE_SCHEDULES = "tracegist.fire_due_schedules"


def beat_schedule(
    *, logs_check_s: int = 3600, precompute_s: int = 60, logs_retention_days: int = 0
) -> dict[str, dict[str, Any]]:
    """How often the rollups of the logs are checked, and usual sparklines counted ahead; 0: never.

    Args:
        logs_retention_days: 0: no logs are removed.
    """
    schedule = {
        "take-over-lost-jobs": _every(2, TAKE_OVER),
        "tend-bulk-jobs": _every(1, BULK_TEND),
        "fire-due-schedules": _every(1, FIRE_SCHEDULES),
        "remove-old-jobs": _every(3600, RETENTION),
        "refresh-tokens": _every(10, REFRESH_TOKENS),
        # Sent at each removal too: this is for messages and workers that were lost.
        "revoke-tokens": _every(60, REVOKE_TOKENS),
    }
    if logs_check_s:
        schedule["check-log-rollups"] = _every(logs_check_s, CHECK_LOGS, queue=LOGS_QUEUE)
    if precompute_s:
        schedule["precompute-sparklines"] = _every(precompute_s, PRECOMPUTE_SPARKLINES, queue=LOGS_QUEUE)
    if logs_retention_days:
        schedule["remove-old-logs"] = _every(3600, REMOVE_OLD_LOGS, queue=LOGS_QUEUE)
    return schedule


def _every(seconds: int, task: str, *, queue: str = MAINTENANCE_QUEUE) -> dict[str, Any]:
    # A run that found no worker in time is dropped: the next one does the same work.
    return {
        "task": task,
        "schedule": seconds,
        "options": {"queue": queue, "expires": seconds * 2},
    }
