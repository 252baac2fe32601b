"""The sender against a receiver that listens: what arrives, what is tried again, what is left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks.webhooks import Webhook as Verifier

from jobs.records import JobRecord, new_job_id
from jobs.states import JobState
from storage import webhooks as rows
from storage.models import Webhook, WebhookDelivery
from storage.secrets import Vault
from tests.integration.webhooks.conftest import MakeHook, Receiver, until
from workers.deliveries import Answered, WebhookSender, new_client, post

Sessions = sessionmaker[Session]


@pytest.fixture
def sender(sessions: Sessions, vault: Vault) -> Iterator[WebhookSender]:
    sender = WebhookSender(sessions, vault, allow_private=True, concurrency=8)
    sender.start()
    yield sender
    sender.stop()


def _tell(sessions: Sessions, **values: object) -> None:
    """A job has ended."""
    defaults: dict[str, object] = {
        "id": new_job_id(),
        "project_id": 1,
        "user_id": 1,
        "kind": "text_repr",
        "queue": "render",
        "created_at": time.time(),
        "finished_at": time.time(),
        "state": JobState.SUCCEEDED,
    }
    record = JobRecord(**{**defaults, **values})  # type: ignore[arg-type]
    with sessions.begin() as session:
        rows.tell_of_jobs(session, [record], base_url="", now=datetime.now(UTC))


def _deliveries(sessions: Sessions, hook: Webhook) -> list[WebhookDelivery]:
    with sessions() as session:
        mine = select(WebhookDelivery).where(WebhookDelivery.webhook_id == hook.id)
        return list(session.scalars(mine))


def _attempted(sessions: Sessions, hook: Webhook, times: int = 1) -> WebhookDelivery:
    until(lambda: sum(row.attempts for row in _deliveries(sessions, hook)) >= times)
    return _deliveries(sessions, hook)[0]


def _hook_now(sessions: Sessions, hook: Webhook) -> Webhook:
    with sessions() as session:
        found = session.get(Webhook, hook.id)
        assert found is not None
        return found


def _age(sessions: Sessions, hook: Webhook) -> None:
    """As if the pause before the next attempt were over."""
    with sessions.begin() as session:
        for row in session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id == hook.id)):
            row.next_attempt_at = datetime.now(UTC) if row.next_attempt_at else None


def test_message_arrives_with_a_signature_that_passes(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, secret = make_hook(receiver.url)
    _tell(sessions)
    sender.wake()

    received = receiver.wait_for(1)[0]
    row = _attempted(sessions, hook)

    assert received.path == "/hook?x=1"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["host"] == receiver.url.split("/")[2]
    assert received.headers["webhook-id"] == row.id
    Verifier(secret).verify(received.body.decode(), received.headers)
    assert (row.status, row.attempts, row.response_code, row.next_attempt_at) == ("succeeded", 1, 200, None)


def test_retries_have_the_same_id_and_body_and_a_fresh_time(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, secret = make_hook(receiver.url)
    receiver.status = 500
    _tell(sessions)
    failed = _attempted(sessions, hook)
    receiver.status = 204
    _age(sessions, hook)
    ok = _attempted(sessions, hook, 2)

    first, second = receiver.wait_for(2)
    assert (failed.status, failed.response_code, failed.error) == ("pending", 500, "refused")
    assert failed.next_attempt_at is not None
    assert failed.last_attempt_at is not None
    assert failed.next_attempt_at - failed.last_attempt_at >= timedelta(seconds=5)
    assert (ok.status, ok.attempts, ok.error) == ("succeeded", 2, None)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    Verifier(secret).verify(second.body.decode(), second.headers)
    assert _hook_now(sessions, hook).failing_since is None


def test_redirects_are_not_followed(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, _ = make_hook(receiver.url)
    receiver.status, receiver.headers = 307, {"Location": receiver.url + "&again"}
    _tell(sessions)

    row = _attempted(sessions, hook)

    assert (row.status, row.response_code, row.error) == ("pending", 307, "redirect")
    assert len(receiver.received) == 1


def test_gone_disables_the_webhook(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, _ = make_hook(receiver.url)
    receiver.status = 410
    _tell(sessions)

    row = _attempted(sessions, hook)
    until(lambda: not _hook_now(sessions, hook).enabled)
    _tell(sessions)

    assert (row.status, row.response_code) == ("failed", 410)
    assert _hook_now(sessions, hook).disabled_reason == "gone"
    assert len(_deliveries(sessions, hook)) == 1


def test_five_days_of_failures_disable_the_webhook(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    days = datetime.now(UTC) - timedelta(days=5, minutes=1)
    hook, _ = make_hook(receiver.url, failing_since=days)
    recent, _ = make_hook(receiver.url, failing_since=days + timedelta(hours=1))
    receiver.status = 500
    _tell(sessions)
    _attempted(sessions, hook)
    _attempted(sessions, recent)

    until(lambda: not _hook_now(sessions, hook).enabled)
    assert _hook_now(sessions, hook).disabled_reason == "failing"
    assert _deliveries(sessions, hook)[0].status == "failed"
    assert _hook_now(sessions, recent).enabled


def test_slow_receiver_keeps_nobody_waiting_but_itself(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    slow, _ = make_hook(receiver.url, events=["job.failed"])
    receiver.hold.clear()
    for _ in range(20):
        _tell(sessions, state=JobState.FAILED)
    until(lambda: len(receiver.received) >= 4)
    quick, _ = make_hook("http://127.0.0.1:9/", events=["job.canceled"])
    _tell(sessions, state=JobState.CANCELED)

    assert _attempted(sessions, quick).error == "no_connection"
    assert len(receiver.received) == 4  # of one webhook at once
    receiver.hold.set()
    until(lambda: all(row.status == "succeeded" for row in _deliveries(sessions, slow)))
    assert len(_deliveries(sessions, slow)) == 20


def test_two_senders_deliver_once(
    sender: WebhookSender, sessions: Sessions, vault: Vault, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, _ = make_hook(receiver.url)
    other = WebhookSender(sessions, vault, allow_private=True, concurrency=8)
    other.start()
    for _ in range(30):
        _tell(sessions)
    until(lambda: sum(row.status == "succeeded" for row in _deliveries(sessions, hook)) == 30)
    other.stop()

    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert len(ids) == len(set(ids)) == 30


def test_secret_that_nobody_can_open_is_said(
    sender: WebhookSender, sessions: Sessions, make_hook: MakeHook, receiver: Receiver
) -> None:
    hook, _ = make_hook(receiver.url)
    with sessions.begin() as session:
        found = session.get(Webhook, hook.id)
        assert found is not None
        found.sealed = "nonsense"
    _tell(sessions)

    assert _attempted(sessions, hook).error == "secret_unreadable"
    assert receiver.received == []


# addresses --------------------------------------------------------------------------------------------


def _post(url: str, addresses: list[str], *, allow_private: bool) -> Answered:
    async def resolve(_host: str, _port: int) -> list[str]:
        return addresses

    async def run() -> Answered:
        async with new_client() as client:
            return await post(client, url, b"{}", {}, allow_private=allow_private, resolve=resolve)

    return asyncio.run(run())


def test_name_that_leads_to_a_private_address_is_not_called(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "hooks.example.com").replace("http:", "https:")

    answered = _post(url, ["127.0.0.1", "10.0.0.1"], allow_private=False)

    assert answered == Answered(error="address_not_allowed")
    assert receiver.received == []


def test_connection_goes_to_the_checked_address_under_its_own_name(receiver: Receiver) -> None:
    port = receiver.url.split(":")[2].split("/")[0]

    answered = _post(f"http://hooks.example.com:{port}/x", ["127.0.0.1"], allow_private=True)

    assert answered.status == 200
    assert receiver.received[0].headers["host"] == f"hooks.example.com:{port}"


def test_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    port = receiver.url.split(":")[2].split("/")[0]

    answered = _post(f"http://hooks.example.com:{port}/x", ["127.0.0.77", "127.0.0.1"], allow_private=True)

    assert answered.status == 200


def test_private_url_is_not_called_even_when_it_is_stored() -> None:
    assert _post("http://127.0.0.1/", ["127.0.0.1"], allow_private=False).error == "address_not_allowed"
