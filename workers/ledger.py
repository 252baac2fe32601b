"""Book paid answers: first in a Redis stream, fast and safe from a crash here, then in the database."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs.json_text import dump_json, load_json
from storage import ledger
from workers.llm.model import PaidCall

log = structlog.get_logger()

STREAM = "tg:ledger"


class Ledger:
    """The worker's side: `book` for each paid answer, `discard` when a job's answer could not be kept."""

    def __init__(self, redis: Redis, sessions: sessionmaker[Session]) -> None:
        self._redis: Any = redis
        self._sessions = sessions

    async def book(self, call: PaidCall) -> None:
        await self._append({"call_id": uuid.uuid4().hex, **_fields(call)})

    async def discard(self, job_id: str) -> None:
        await self._append({"discarded": job_id})

    async def _append(self, entry: dict[str, object]) -> None:
        try:
            await self._redis.xadd(STREAM, {"entry": dump_json(entry)})
        except (RedisError, OSError):
            await asyncio.to_thread(self._write_now, entry)

    def _write_now(self, entry: dict[str, object]) -> None:
        try:
            with self._sessions.begin() as session:
                write(session, [entry])
        except SQLAlchemyError:
            log.error("paid_answer_not_booked", **{k: v for k, v in entry.items() if k != "call_id"})


def write(session: Session, entries: list[dict[str, Any]]) -> None:
    """Write entries of the stream to the database; harmless when repeated."""
    booked = [entry for entry in entries if "discarded" not in entry]
    ledger.book_all(
        session,
        [
            ledger.Booking(**{**entry, "created_at": datetime.fromisoformat(entry["created_at"])})
            for entry in booked
        ],
    )
    for entry in entries:
        if "discarded" in entry:
            ledger.discard(session, entry["discarded"])


def read(raw: bytes) -> dict[str, Any]:
    """An entry of the stream."""
    entry: Any = load_json(raw)
    return dict(entry)


def _fields(call: PaidCall) -> dict[str, object]:
    return {
        "project_id": call.project_id,
        "job_id": call.job_id or "",
        "model": call.model,
        "prompt_tokens": call.usage.prompt_tokens,
        "cached_tokens": call.usage.cached_prompt_tokens,
        "completion_tokens": call.usage.completion_tokens,
        "total_tokens": call.usage.total_tokens,
        "cost_usd": call.cost_usd,
        "attempt": call.attempt,
        "kept": call.kept,
        "created_at": datetime.now(UTC).isoformat(),
    }
