"""Webhooks of a project, and the deliveries that are due: a table is their queue.

A delivery is a row before anything is sent. Whoever attempts it moves its next time ahead first, so that no
two processes attempt it at once and a crash costs a pause, not the delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from jobs.records import JobRecord
from jobs.webhooks import DISABLED_AFTER_S, hears_of, job_message, new_message_id
from storage.models import Webhook, WebhookDelivery
from storage.session import insert_into

PENDING: Final = "pending"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
GONE: Final = "gone"  # why a webhook was disabled: its receiver answered 410
FAILING: Final = "failing"  # ... or nothing but failures for days


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that this process may attempt now."""

    delivery: WebhookDelivery
    webhook: Webhook


@dataclass(frozen=True, slots=True)
class Attempted:
    """How an attempt went. `again_at` null: there is no other one. `gone`: the receiver wants no more."""

    ok: bool
    at: datetime
    response_code: int | None = None
    error: str | None = None
    again_at: datetime | None = None
    gone: bool = False


# webhooks ---------------------------------------------------------------------------------------------


def get(session: Session, project_id: int, webhook_id: str) -> Webhook | None:
    return session.scalar(select(Webhook).where(Webhook.id == webhook_id, Webhook.project_id == project_id))


def page(session: Session, project_id: int, *, limit: int, offset: int) -> tuple[int, list[Webhook]]:
    """The project's webhooks, oldest first."""
    mine = Webhook.project_id == project_id
    count = session.scalar(select(func.count()).select_from(Webhook).where(mine)) or 0
    ordered = select(Webhook).where(mine).order_by(Webhook.created_at, Webhook.id)
    return count, list(session.scalars(ordered.limit(limit).offset(offset)))


def remove(session: Session, project_id: int, webhook_id: str) -> bool:
    mine = (Webhook.id == webhook_id) & (Webhook.project_id == project_id)
    return _count(session.execute(delete(Webhook).where(mine))) > 0


# what happened ----------------------------------------------------------------------------------------


def tell_of_jobs(session: Session, records: Sequence[JobRecord], *, base_url: str, now: datetime) -> int:
    """Deliveries for those of the jobs that have ended, each once however often it is told; how many."""
    ended = [record for record in records if record.state.final]
    hooks = _enabled(session, {record.project_id for record in ended})
    if not hooks:
        return 0
    rows = []
    for record in ended:
        event, body = job_message(record, base_url)
        rows += [
            _delivery(hook, event=event, subject=f"{event}:{record.id}", body=body, now=now)
            for hook in hooks
            if hook.project_id == record.project_id and event in hook.events and hears_of(record, hook.kinds)
        ]
    return _insert(session, rows)


def tell(session: Session, project_id: int, *, event: str, subject: str, body: bytes, now: datetime) -> int:
    """Deliveries of another event to the webhooks that listen for it; a `subject` is sent once."""
    hooks = _enabled(session, {project_id})
    return _insert(
        session,
        [
            _delivery(hook, event=event, subject=subject, body=body, now=now)
            for hook in hooks
            if event in hook.events
        ],
    )


def tell_one(
    session: Session, hook: Webhook, *, event: str, subject: str, body: bytes, now: datetime
) -> WebhookDelivery:
    """A delivery to one webhook, whatever it listens for."""
    row = WebhookDelivery(**_delivery(hook, event=event, subject=subject, body=body, now=now))
    session.add(row)
    session.flush()
    return row


# deliveries -------------------------------------------------------------------------------------------


def deliveries(
    session: Session, webhook_id: str, *, limit: int, offset: int
) -> tuple[int, list[WebhookDelivery]]:
    """Newest first."""
    mine = WebhookDelivery.webhook_id == webhook_id
    count = session.scalar(select(func.count()).select_from(WebhookDelivery).where(mine)) or 0
    ordered = select(WebhookDelivery).where(mine)
    ordered = ordered.order_by(WebhookDelivery.created_at.desc(), WebhookDelivery.id.desc())
    return count, list(session.scalars(ordered.limit(limit).offset(offset)))


def send_again(
    session: Session, webhook_id: str, delivery_id: str, *, now: datetime
) -> WebhookDelivery | None:
    """Make a delivery due now, whatever became of it."""
    row = session.get(WebhookDelivery, delivery_id)
    if row is None or row.webhook_id != webhook_id:
        return None
    row.status, row.next_attempt_at = PENDING, now
    session.flush()
    return row


def take_due(
    session: Session, *, now: datetime, lease: timedelta, busy: Mapping[str, int], each: int, limit: int = 50
) -> list[Due]:
    """Deliveries to attempt now, at most `each` of a webhook at once; `busy` counts those under way.

    A slow receiver so keeps its own deliveries waiting, and nobody else's.
    """
    due = (WebhookDelivery.status == PENDING) & (WebhookDelivery.next_attempt_at <= now)
    full = [webhook_id for webhook_id, count in busy.items() if count >= each]
    waiting = (
        select(WebhookDelivery.webhook_id)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(due, Webhook.enabled, WebhookDelivery.webhook_id.not_in(full))
        .group_by(WebhookDelivery.webhook_id)
        .order_by(func.min(WebhookDelivery.next_attempt_at))
        .limit(limit)
    )
    taken: list[Due] = []
    for webhook_id in session.scalars(waiting).all():
        hook = session.get(Webhook, webhook_id, populate_existing=True)
        first = select(WebhookDelivery).where(due, WebhookDelivery.webhook_id == webhook_id)
        first = first.order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        rows = session.scalars(first.limit(each - busy.get(webhook_id, 0))).all() if hook else []
        taken += [Due(row, hook) for row in rows if hook and _take(session, row, now + lease)]
    return taken


def note(session: Session, due: Due, attempted: Attempted) -> None:
    """Write how an attempt went; a webhook that only fails, or whose receiver is gone, is disabled."""
    row = due.delivery
    status = SUCCEEDED if attempted.ok else PENDING if attempted.again_at else FAILED
    values = {
        "status": status,
        "attempts": WebhookDelivery.attempts + 1,
        "response_code": attempted.response_code,
        "error": attempted.error,
        "last_attempt_at": attempted.at,
        "next_attempt_at": attempted.again_at,
    }
    session.execute(update(WebhookDelivery).where(WebhookDelivery.id == row.id).values(values))
    hook = session.get(Webhook, row.webhook_id, populate_existing=True)
    if hook is None:
        return
    if attempted.ok:
        hook.failing_since = None
        return
    hook.failing_since = hook.failing_since or attempted.at
    if attempted.gone:
        _disable(session, hook, GONE)
    elif (attempted.at - hook.failing_since).total_seconds() >= DISABLED_AFTER_S:
        _disable(session, hook, FAILING)


def remove_deliveries_older_than(session: Session, created_before: datetime) -> int:
    return _count(session.execute(delete(WebhookDelivery).where(WebhookDelivery.created_at < created_before)))


def _take(session: Session, row: WebhookDelivery, until: datetime) -> bool:
    unchanged = (
        (WebhookDelivery.id == row.id)
        & (WebhookDelivery.status == PENDING)
        & (WebhookDelivery.next_attempt_at == row.next_attempt_at)
    )
    statement = update(WebhookDelivery).where(unchanged).values(next_attempt_at=until)
    return _count(session.execute(statement.execution_options(synchronize_session=False))) > 0


def _disable(session: Session, hook: Webhook, reason: str) -> None:
    hook.enabled, hook.disabled_reason = False, reason
    pending = (WebhookDelivery.webhook_id == hook.id) & (WebhookDelivery.status == PENDING)
    ended = {"status": FAILED, "error": "webhook_disabled", "next_attempt_at": None}
    statement = update(WebhookDelivery).where(pending).values(ended)
    session.execute(statement.execution_options(synchronize_session=False))


def _enabled(session: Session, project_ids: Collection[int]) -> list[Webhook]:
    if not project_ids:
        return []
    theirs = select(Webhook).where(Webhook.enabled, Webhook.project_id.in_(sorted(project_ids)))
    return list(session.scalars(theirs))


def _delivery(hook: Webhook, *, event: str, subject: str, body: bytes, now: datetime) -> dict[str, Any]:
    return {
        "id": new_message_id(),
        "webhook_id": hook.id,
        "subject": subject,
        "event": event,
        "body": body,
        "status": PENDING,
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }


def _insert(session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
    if rows:
        statement = insert_into(session, WebhookDelivery)
        once = statement.on_conflict_do_nothing(
            index_elements=[WebhookDelivery.webhook_id, WebhookDelivery.subject]
        )
        session.connection().execute(once, [dict(row) for row in rows])
    return len(rows)


def _count(result: object) -> int:
    return result.rowcount if isinstance(result, CursorResult) else 0
