"""Every kind of job: which task runs it, on which queue, who may ask for it, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LLM_QUEUE: Final = "llm"
LLM_BULK_QUEUE: Final = "llm.bulk"
RENDER_QUEUE: Final = "render"
LOGS_QUEUE: Final = "logs"
MAINTENANCE_QUEUE: Final = "maintenance"


@dataclass(frozen=True, slots=True)
class JobKind:
    """`timeout_code` is what a caller reads when the wait ends first.

    `time_limit_s` bounds one attempt of work that computes (0: the work has a deadline of its own).
    """

    name: str
    task: str
    queue: str
    scopes: tuple[str, ...]
    time_limit_s: int = 0
    max_attempts: int = 3
    timeout_code: str = "wait_timeout"


SUMMARIZATION = JobKind(
    "summarization",
    "tracegist.summarization",
    LLM_QUEUE,
    ("llm_analytics:write",),
    timeout_code="llm_timeout",
)
TEXT_REPR = JobKind(
    "text_repr", "tracegist.text_repr", RENDER_QUEUE, ("llm_analytics:write",), time_limit_s=300
)
INSIGHT = JobKind("insight", "tracegist.insight", LLM_QUEUE, ("insight:read", "query:read"))
# Its message only starts the job; the work is done by tasks that carry a chunk of items each.
SUMMARIZATION_BULK = JobKind(
    "summarization.bulk", "tracegist.summarization.bulk", LLM_BULK_QUEUE, ("llm_analytics:write",)
)

CONNECT = JobKind(
    "integrations.connect", "tracegist.integrations.connect", MAINTENANCE_QUEUE, ("integration:write",)
)
PHONE_NUMBERS = JobKind(
    "integrations.twilio_phone_numbers",
    "tracegist.integrations.twilio_phone_numbers",
    MAINTENANCE_QUEUE,
    ("integration:read",),
)

JOB_KINDS: Final[dict[str, JobKind]] = {
    kind.name: kind
    for kind in (SUMMARIZATION, TEXT_REPR, SUMMARIZATION_BULK, PHONE_NUMBERS, CONNECT, INSIGHT)
}

# Tasks that are no jobs: nobody waits for them.
BULK_TEND: Final = "tracegist.tend_bulk_jobs"
REVOKE_TOKENS: Final = "tracegist.integrations.revoke_tokens"

# Kinds of the API that no worker of this release serves: a filter may name them, and finds none.
LATER_KINDS: Final = (
    "logs.query",
    "logs.sparkline",
    "logs.attributes",
    "logs.values",
)
