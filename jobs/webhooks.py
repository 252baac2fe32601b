"""What a webhook says and how it is signed (Standard Webhooks 1.0), when it is tried again, who hears."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from jobs.json_text import dump_json
from jobs.records import JobRecord, format_time, new_job_id

JOB_EVENTS: Final = ("job.succeeded", "job.failed", "job.canceled", "job.expired")
SCHEDULE_PAUSED: Final = "schedule.paused"
EVENTS: Final = (*JOB_EVENTS, SCHEDULE_PAUSED)
TEST_EVENT: Final = "webhook.test"

# Seconds after each failed attempt; after the last one a delivery has failed.
RETRY_AFTER_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER: Final = 0.2
LONGEST_RETRY_AFTER_S: Final = 86_400
ATTEMPT_S: Final = 15.0
SECRET_OVERLAP_S: Final = 86_400  # both secrets sign for so long after a rotation
DISABLED_AFTER_S: Final = 5 * 86_400  # of nothing but failures
_PREFIX: Final = "whsec_"
_ALWAYS: Final = "summarization.bulk"  # kinds that are told of without a filter


def new_webhook_id() -> str:
    return "wh_" + new_job_id().removeprefix("job_")


def new_message_id() -> str:
    return "msg_" + new_job_id().removeprefix("job_")


def new_secret() -> str:
    return _PREFIX + base64.b64encode(os.urandom(32)).decode()


def signature(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret that is valid now."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(_key_of(secret), signed, hashlib.sha256)).decode()
        for secret in secrets
    )


def message(event: str, *, at: float, data: Mapping[str, object]) -> bytes:
    return dump_json({"type": event, "timestamp": format_time(at), "data": dict(data)})


def job_message(record: JobRecord, base_url: str) -> tuple[str, bytes]:
    """Event and body for a job that has ended: never its result, never a caller's text."""
    job = record.public(base_url)
    names = ("id", "kind", "state", "partial_failure", "progress", "links")
    event = f"job.{record.state}"
    at = record.finished_at or record.created_at
    return event, message(event, at=at, data={name: job[name] for name in names})


def hears_of(record: JobRecord, kinds: Collection[str] | None) -> bool:
    """Whether a webhook with this filter wants to know of the job.

    Without a filter: bulk jobs, runs of schedules, and jobs whose caller asked not to wait for them.
    """
    if kinds is not None:
        return record.kind in kinds
    return record.kind == _ALWAYS or record.source == "schedule" or record.asynchronous


def retry_delay_s(attempts: int, *, jitter: float, asked_s: float | None = None) -> float | None:
    """Seconds until the next attempt after `attempts` of them; None when there is to be no other.

    `jitter` is a random number from 0 to 1; `asked_s` what the receiver asked for.
    """
    if attempts > len(RETRY_AFTER_S):
        return None
    if asked_s is not None:
        return min(max(asked_s, 1.0), LONGEST_RETRY_AFTER_S)
    return RETRY_AFTER_S[attempts - 1] * (1 + JITTER * jitter)


def _key_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(_PREFIX))
