"""The tables of the metadata database, the same on SQLite and PostgreSQL.

Everything else in `storage` reads and writes them; `migrations/` builds them.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

# Written out in the query as well: a partial index serves only a condition with the same words.
UNFINISHED = "promised AND state IN ('queued', 'running')"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored and read in UTC with microseconds; SQLite itself knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # JSON keeps the order of members; JSONB would not, and error bodies have a fixed order.
    type_annotation_map = {  # noqa: RUF012 - read once by the base class
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, bool]: JSON(none_as_null=True),
        dict[str, int]: JSON(none_as_null=True),
        dict[str, str]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[int]: JSON(none_as_null=True),
        str: Text,
    }


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    feature_flags: Mapped[dict[str, bool]] = mapped_column(default=dict)
    ai_data_processing_approved: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class Membership(Base):
    __tablename__ = "memberships"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)


class ApiKey(Base):
    """`projects` null: every project of the user."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(String(71), unique=True)
    label: Mapped[str] = mapped_column(String(40))
    mask: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]]
    projects: Mapped[list[int] | None]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    last_rolled_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class PersistedFolder(Base):
    __tablename__ = "persisted_folders"
    __table_args__ = (UniqueConstraint("project_id", "user_id", "type"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(32))
    protocol: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Integration(Base):
    """A connected account of another service. `sealed` holds its secrets; nothing else here is one.

    `generation` changes with every connect: what was learned with older secrets is not of this row any more.
    `token_ends_at` is set when there is a token that ends and can be refreshed.
    """

    __tablename__ = "integrations"
    __table_args__ = (
        UniqueConstraint("project_id", "kind", "external_id"),
        Index("ix_integrations_token_ends_at", "token_ends_at"),
        # An id is never used again: links and caches of a removed row must not lead to another.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    external_id: Mapped[str] = mapped_column(String(512))
    display_name: Mapped[str]
    config: Mapped[dict[str, Any]]
    sealed: Mapped[str]
    errors: Mapped[str] = mapped_column(String(32), default="")
    generation: Mapped[str] = mapped_column(String(32))
    token_ends_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


class Revocation(Base):
    """Secrets of a removed integration that are to be revoked. No foreign keys: it is work to do."""

    __tablename__ = "revocations"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))
    external_id: Mapped[str] = mapped_column(String(512))
    sealed: Mapped[str]
    created_at: Mapped[datetime]


class JobRow(Base):
    """One job. No foreign keys: a batch of records must not fail because of one of its rows.

    `payload` is the request of a promised job, kept only until the job ends; it is never loaded by itself.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_newest", "project_id", "created_at", "id"),
        Index("ix_jobs_created_at", "created_at"),
        *(
            Index(f"ix_jobs_{name}", *columns, sqlite_where=text(condition), postgresql_where=text(condition))
            for name, columns, condition in (
                ("unfinished", ("created_at", "id"), UNFINISHED),
                ("parent_id", ("parent_id",), "parent_id IS NOT NULL"),
                ("schedule_id", ("schedule_id",), "schedule_id IS NOT NULL"),
            )
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int]
    user_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16), default="api")
    parent_id: Mapped[str | None] = mapped_column(String(64))
    schedule_id: Mapped[str | None] = mapped_column(String(64))
    job_metadata: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    attempt: Mapped[int] = mapped_column(default=1)
    max_attempts: Mapped[int] = mapped_column(default=3)
    progress: Mapped[dict[str, Any]]
    partial_failure: Mapped[bool] = mapped_column(default=False)
    result_status: Mapped[int | None]
    result_headers: Mapped[dict[str, str]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    request_id: Mapped[str] = mapped_column(String(128), default="")
    flight: Mapped[str] = mapped_column(default="")
    forced_at: Mapped[datetime | None]
    queue: Mapped[str] = mapped_column(String(64))
    promised: Mapped[bool] = mapped_column(default=False)
    asynchronous: Mapped[bool] = mapped_column(default=False, server_default=false())
    payload: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)
    payload_meta: Mapped[dict[str, Any]] = mapped_column(default=dict)


class SummaryRow(Base):
    """One answered summary, for questions about summaries. No foreign keys, as above.

    `status` is how the cache took part (`miss`, `hit`, ...), or the code of the failure. `answer_id` names
    the answer, so that it is written once. A cached answer has taken no tokens and cost nothing.
    """

    __tablename__ = "summaries"
    __table_args__ = (
        Index("ix_summaries_newest", "project_id", "created_at"),
        Index("ix_summaries_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    answer_id: Mapped[str] = mapped_column(String(128), unique=True)
    project_id: Mapped[int]
    created_at: Mapped[datetime]
    summarize_type: Mapped[str] = mapped_column(String(16))
    mode: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(200))
    engine: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(64))
    cached: Mapped[bool]
    latency_ms: Mapped[float] = mapped_column(Double)
    text_repr_length: Mapped[int] = mapped_column(BigInteger)
    total_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[float | None] = mapped_column(Double)


class BulkJob(Base):
    """What a bulk job may use, and how far it is. The counters change in one step with the rows they count.

    `revision` rises with each such step. `ended`: rows that are not finished by now never will be.
    `batch_phase`: how far it is with the provider's batch interface, see `storage/batches.py`.
    """

    __tablename__ = "bulk_jobs"

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    options: Mapped[dict[str, Any]]
    ended: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(default=0)
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    succeeded: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    canceled: Mapped[int] = mapped_column(default=0)
    cached: Mapped[int] = mapped_column(default=0)
    duplicates: Mapped[int] = mapped_column(default=0)
    llm_calls: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cost_usd: Mapped[float] = mapped_column(Double, default=0.0)
    unpriced: Mapped[int] = mapped_column(default=0)
    batch_phase: Mapped[str | None] = mapped_column(String(16))


class BulkItem(Base):
    """One item. No foreign key: items are stored while they are uploaded, before there is a job.

    `leader` is the position of the first item with the same `identity`, whose summary this one shares.
    `chunk` null: refused at the door. `content` (packed `data`; only the first of equal ones has it) and
    `ask` (all else of the request) make the item; `status` and `outcome` (packed row) are null until it is
    finished, in the step with this `revision` of the job.
    """

    __tablename__ = "bulk_items"
    __table_args__ = (
        Index("ix_bulk_items_chunk", "job_id", "chunk"),
        Index("ix_bulk_items_revision", "job_id", "revision"),
    )

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    custom_id: Mapped[str | None] = mapped_column(String(128))
    leader: Mapped[int | None]
    chunk: Mapped[int | None]
    identity: Mapped[str | None] = mapped_column(String(64))
    content_fp: Mapped[str | None] = mapped_column(String(64))
    content_bytes: Mapped[int] = mapped_column(default=0)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    ask: Mapped[bytes | None] = mapped_column(LargeBinary)
    status: Mapped[int | None]
    outcome: Mapped[bytes | None] = mapped_column(LargeBinary)
    revision: Mapped[int | None]


class IdempotencyKey(Base):
    """A use of an idempotency key. `id` is a digest of project, user, path and key.

    `status` null: the first use has no answer yet. `sealed` is the body of an answer that is no job's result.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int]
    body_digest: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(String(64))
    has_job: Mapped[bool] = mapped_column(default=False)
    status: Mapped[int | None]
    headers: Mapped[dict[str, str]] = mapped_column(default=dict)
    sealed: Mapped[str | None]
    created_at: Mapped[datetime]


class Webhook(Base):
    """Who wants to hear of what. `kinds` null: the default. `sealed` holds the secret and the one before."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    url: Mapped[str]
    events: Mapped[list[str]]
    kinds: Mapped[list[str] | None]
    description: Mapped[str] = mapped_column(default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str] = mapped_column(String(32), default="")
    sealed: Mapped[str]
    rotated_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class WebhookDelivery(Base):
    """One message to one webhook. `id` is its `webhook-id`; `subject` keeps it from being made twice."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "subject"),
        Index("ix_webhook_deliveries_due", "status", "next_attempt_at"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(128))
    event: Mapped[str] = mapped_column(String(32))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    response_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(32))
    next_attempt_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Schedule(Base):
    """Work that is due again and again.

    `next_run_at` is the due time, `fire_at` the moment of the start: later by the schedule's own delay. Both
    are null while it is paused. Failures count from `failures_since` on, when it was last switched on.
    """

    __tablename__ = "schedules"
    __table_args__ = (UniqueConstraint("project_id", "name"), Index("ix_schedules_fire_at", "fire_at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]]
    interval_seconds: Mapped[int | None]
    cron: Mapped[str | None]
    timezone: Mapped[str] = mapped_column(String(64))
    enabled: Mapped[bool]
    next_run_at: Mapped[datetime | None]
    fire_at: Mapped[datetime | None]
    last_run_at: Mapped[datetime | None]
    last_job_id: Mapped[str | None] = mapped_column(String(64))
    last_state: Mapped[str | None] = mapped_column(String(16))
    consecutive_failures: Mapped[int] = mapped_column(default=0)
    failures_since: Mapped[datetime]
    skipped_runs: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]


class BulkBatch(Base):
    """One batch at the provider's batch interface. Times are UNIX seconds.

    `claim` is the token of the execution that works on it, until `claimed_until`. `attempts` counts how often
    its creation was begun, and is written before; `provider_id` is null until the outcome is known.
    """

    __tablename__ = "bulk_batches"
    __table_args__ = (
        Index("ix_bulk_batches_job_id", "job_id"),
        Index("ix_bulk_batches_due", "closed", "due_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64))
    project_id: Mapped[int]
    model: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float] = mapped_column(Double)
    due_at: Mapped[float] = mapped_column(Double)
    claim: Mapped[str | None] = mapped_column(String(64))
    claimed_until: Mapped[float] = mapped_column(Double, default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    input_file: Mapped[str | None] = mapped_column(String(200))
    provider_id: Mapped[str | None] = mapped_column(String(200))
    canceled: Mapped[bool] = mapped_column(default=False)
    closed: Mapped[bool] = mapped_column(default=False)


class BulkRequest(Base):
    """The request of an item that waits for a batch, later its answer; both packed.

    `batch_id` null: it goes without a batch, or no batch was made yet. `most_usd`: what it costs at most.
    """

    __tablename__ = "bulk_requests"
    __table_args__ = (Index("ix_bulk_requests_batch_id", "batch_id"),)

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    batch_id: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(200))
    text_fp: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    most_usd: Mapped[float | None] = mapped_column(Double)
    request: Mapped[bytes | None] = mapped_column(LargeBinary)
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)


class LogGathering(Base):
    """Small uploads of logs that go into the log store as one block; `content` null: it is stored."""

    __tablename__ = "log_gatherings"
    __table_args__ = (Index("ix_log_gatherings_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class LogUpload(Base):
    """A small upload that is part of a gathering, by its digest; kept for some hours."""

    __tablename__ = "log_uploads"
    __table_args__ = (
        Index("ix_log_uploads_gathering_id", "gathering_id"),
        Index("ix_log_uploads_created_at", "created_at"),
    )

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    gathering_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class LedgerEntry(Base):
    """One paid answer of a model. No foreign keys: what was spent is booked whatever became of the job."""

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ix_ledger_spend", "created_at", "project_id"),
        Index("ix_ledger_job_id", "job_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    call_id: Mapped[str] = mapped_column(String(128), unique=True)
    project_id: Mapped[int]
    job_id: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(200))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    total_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[float | None] = mapped_column(Double)
    attempt: Mapped[int]
    kept: Mapped[bool]
    created_at: Mapped[datetime]
