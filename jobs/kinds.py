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
    `kept` is false for work that no caller is ever promised: it ends without a row, and its result goes soon.
    """

    name: str
    task: str
    queue: str
    scopes: tuple[str, ...]
    time_limit_s: int = 0
    max_attempts: int = 3
    timeout_code: str = "wait_timeout"
    kept: bool = True


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
# On the queue of the process that owns the log store, which most questions are about.
INSIGHT = JobKind("insight", "tracegist.insight", LOGS_QUEUE, ("insight:read", "query:read"))
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

# Queries are bounded in the log store itself.
LOGS_QUERY = JobKind("logs.query", "tracegist.logs.query", LOGS_QUEUE, ("logs:read",))
LOGS_SPARKLINE = JobKind("logs.sparkline", "tracegist.logs.sparkline", LOGS_QUEUE, ("logs:read",))
LOGS_ATTRIBUTES = JobKind("logs.attributes", "tracegist.logs.attributes", LOGS_QUEUE, ("logs:read",))
LOGS_VALUES = JobKind("logs.values", "tracegist.logs.values", LOGS_QUEUE, ("logs:read",))
LOGS_COUNT = JobKind("logs.count", "tracegist.logs.count", LOGS_QUEUE, ("logs:read",))
LOGS_CONTEXT = JobKind("logs.context", "tracegist.logs.context", LOGS_QUEUE, ("logs:read",))
LOGS_EXPORT = JobKind("logs.export", "tracegist.logs.export", LOGS_QUEUE, ("logs:read",))
# An upload whose sender waits; one that is lost is sent again and stored once.
LOGS_INGEST = JobKind("logs.ingest", "tracegist.logs.ingest", LOGS_QUEUE, ("logs:write",), kept=False)
LOGS_IMPORT = JobKind("logs.import", "tracegist.logs.import", LOGS_QUEUE, ("logs:write",))
LOGS_REBUILD = JobKind("logs.rebuild_rollups", "tracegist.logs.rebuild_rollups", LOGS_QUEUE, ("logs:write",))

JOB_KINDS: Final[dict[str, JobKind]] = {
    kind.name: kind
    for kind in (
        SUMMARIZATION,
        TEXT_REPR,
        SUMMARIZATION_BULK,
        PHONE_NUMBERS,
        CONNECT,
        INSIGHT,
        LOGS_QUERY,
        LOGS_SPARKLINE,
        LOGS_ATTRIBUTES,
        LOGS_VALUES,
        LOGS_COUNT,
        LOGS_CONTEXT,
        LOGS_EXPORT,
        LOGS_INGEST,
        LOGS_IMPORT,
        LOGS_REBUILD,
    )
}

# Tasks that are no jobs: nobody waits for them.
BULK_TEND: Final = "tracegist.tend_bulk_jobs"
REVOKE_TOKENS: Final = "tracegist.integrations.revoke_tokens"
