"""The job record: what Redis keeps while a job lives, and what a caller reads of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self

import orjson

from jobs.bulk_progress import bulk_progress
from jobs.json_text import dump_json, load_json
from jobs.states import JobState

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base 32, as in a ULID


def new_job_id() -> str:
    """`job_` and a ULID: sorts by time, cannot be guessed."""
    return new_id("job_")


def new_id(prefix: str) -> str:
    """The prefix and a ULID."""
    return _id(prefix, time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def job_id_at(unix: float) -> str:
    """The lowest id of that moment: those of older jobs are below it."""
    return _id("job_", int(unix * 1000), 0)


def _id(prefix: str, milliseconds: int, entropy: int) -> str:
    value = (milliseconds << 80) | entropy
    return prefix + "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def format_time(unix: float | None) -> str | None:
    """UTC with microseconds, as every time in the API."""
    if unix is None:
        return None
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. Times are UNIX seconds; `error` is the common error body of a failed job.

    `payload_codec` and the payload itself are not part of the record: a request may hold customer data.
    `flight` is the key under which identical requests find this job while it runs. `counters` are those of a
    bulk job as its rows had them at one moment (`jobs/bulk.py`), `in_hand` the items that workers have taken.
    `asynchronous`: its caller asked not to wait.
    """

    id: str
    project_id: int
    user_id: int
    kind: str
    queue: str
    created_at: float
    state: JobState = JobState.QUEUED
    source: str = "api"
    parent_id: str | None = None
    schedule_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float = 0
    cancel_requested: bool = False
    attempt: int = 1
    max_attempts: int = 3
    promised: bool = False
    asynchronous: bool = False
    result_status: int | None = None
    result_headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, object] | None = None
    request_id: str = ""
    flight: str = ""
    forced_at: float | None = None
    counters: dict[str, Any] = field(default_factory=dict)
    in_hand: int = 0

    def to_hash(self) -> dict[str, bytes]:
        """The fields of the Redis hash; absent means null."""
        values = {name: value for name in _NAMES.values() if (value := getattr(self, name)) is not None}
        try:
            return dict(zip(values, map(orjson.dumps, values.values()), strict=True))
        except (TypeError, ValueError):  # a lone surrogate in a caller's words
            return {name: dump_json(value) for name, value in values.items()}

    @classmethod
    def from_hash(cls, raw: Mapping[bytes, bytes]) -> Self | None:
        """The record of a Redis hash; None when there is none, or not a whole one."""
        known = [(name, value) for key, value in raw.items() if (name := _NAMES.get(key))]
        # One document of all fields: reading each by itself takes several times as long.
        read: Any = load_json(b"[%b]" % b",".join(value for _, value in known))
        values: dict[str, Any] = dict(zip((name for name, _ in known), read, strict=True))
        try:
            return cls(**{**values, "state": JobState(values["state"])})
        except (KeyError, TypeError):
            return None

    @property
    def progress(self) -> dict[str, Any]:
        """`total = queued + running + done`, whatever moment the parts are of."""
        state = self.state
        if self.counters:
            return bulk_progress(self.counters, in_hand=self.in_hand, ended=state.final)
        return {
            "total": 1,
            "done": int(state.final),
            "queued": int(state is JobState.QUEUED),
            "running": int(state is JobState.RUNNING),
            "succeeded": int(state is JobState.SUCCEEDED),
            "failed": int(state in (JobState.FAILED, JobState.EXPIRED)),
            "canceled": int(state is JobState.CANCELED),
        }

    @property
    def partial_failure(self) -> bool:
        """Whether items of a bulk job have failed."""
        return bool(self.counters.get("failed"))

    def address(self, base: str) -> str:
        return f"{base}/api/environments/{self.project_id}/jobs/{self.id}/"

    def links(self, base: str) -> dict[str, str]:
        home = self.address(base)
        rooms = ("result", "results", "events", "cancel")
        return {"self": home, **{room: f"{home}{room}/" for room in rooms}}

    def public(self, base: str) -> dict[str, object]:
        """The job as the API shows it; `base` is the origin of absolute links."""
        return {
            "id": self.id,
            "object": "job",
            "kind": self.kind,
            "state": str(self.state),
            "source": self.source,
            "parent_id": self.parent_id,
            "schedule_id": self.schedule_id,
            "metadata": self.metadata,
            "created_at": format_time(self.created_at),
            "started_at": format_time(self.started_at),
            "finished_at": format_time(self.finished_at),
            "expires_at": format_time(self.expires_at),
            "cancel_requested": self.cancel_requested,
            "attempt": self.attempt,
            "max_attempts": self.max_attempts,
            "progress": self.progress,
            "partial_failure": self.partial_failure,
            "result_status": self.result_status,
            "error": self.error,
            "request_id": self.request_id,
            "links": self.links(base),
        }


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a waiting caller gets: status, extra headers, and the exact bytes of the body."""

    status: int
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


_NAMES = {item.name.encode(): item.name for item in fields(JobRecord)}
