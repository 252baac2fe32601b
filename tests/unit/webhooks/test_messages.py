"""What webhooks say, how it is signed, when it is tried again, who hears of what."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.records import JobRecord, new_job_id
from jobs.states import JobState
from jobs.webhooks import (
    RETRY_AFTER_S,
    hears_of,
    job_message,
    message,
    new_message_id,
    new_secret,
    retry_delay_s,
    signature,
)
from workers.deliveries import Answered, judge, retry_after_s

NOW = datetime(2025, 11, 3, 9, 30, tzinfo=UTC)


def _job(**values: object) -> JobRecord:
    defaults: dict[str, object] = {
        "id": new_job_id(),
        "project_id": 7,
        "user_id": 1,
        "kind": "text_repr",
        "queue": "render",
        "created_at": NOW.timestamp(),
        "finished_at": NOW.timestamp() + 1,
        "state": JobState.SUCCEEDED,
    }
    return JobRecord(**{**defaults, **values})  # type: ignore[arg-type]


# signatures -------------------------------------------------------------------------------------------


def _signed(secrets: list[str], body: bytes) -> dict[str, str]:
    message_id, timestamp = new_message_id(), int(time.time())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, message_id=message_id, timestamp=timestamp, body=body),
    }


def test_signature_is_that_of_the_standard() -> None:
    secret, body = new_secret(), message("job.succeeded", at=0, data={"id": "ä"})

    assert Verifier(secret).verify(body.decode(), _signed([secret], body)) == json.loads(body)


def test_other_body_or_secret_does_not_pass() -> None:
    secret, body = new_secret(), b'{"a": 1}'
    headers = _signed([secret], body)

    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify('{"a": 2}', headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new_secret()).verify(body.decode(), headers)


def test_both_secrets_pass_while_both_sign() -> None:
    new, old, body = new_secret(), new_secret(), b"{}"
    headers = _signed([new, old], body)

    assert Verifier(new).verify("{}", headers) == {}
    assert Verifier(old).verify("{}", headers) == {}


def test_secret_is_32_random_bytes() -> None:
    import base64

    secrets = {new_secret() for _ in range(20)}

    assert len(secrets) == 20
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)


# messages ---------------------------------------------------------------------------------------------


def test_message_of_a_job_has_the_documented_members_and_nothing_of_the_caller() -> None:
    job = _job(metadata={"team": "payments"}, error={"detail": "said the model"}, state=JobState.FAILED)

    event, body = job_message(job, "https://tracegist.example")
    told = json.loads(body)

    assert event == told["type"] == "job.failed"
    assert list(told) == ["type", "timestamp", "data"]
    assert told["timestamp"] == "2025-11-03T09:30:01.000000Z"
    assert list(told["data"]) == ["id", "kind", "state", "partial_failure", "progress", "links"]
    assert told["data"]["links"]["self"].startswith("https://tracegist.example/api/environments/7/jobs/job_")
    assert b"payments" not in body
    assert b"said the model" not in body


@pytest.mark.parametrize(
    ("values", "kinds", "hears"),
    [
        ({}, None, False),
        ({"asynchronous": True}, None, True),
        ({"source": "schedule"}, None, True),
        ({"kind": "summarization.bulk"}, None, True),
        ({"promised": True}, None, False),
        ({}, ["text_repr"], True),
        ({"asynchronous": True}, ["summarization"], False),
        ({"kind": "summarization.bulk"}, [], False),
    ],
)
def test_filter_decides_who_hears(values: dict[str, object], kinds: list[str] | None, hears: bool) -> None:
    assert hears_of(_job(**values), kinds) is hears


# attempts ---------------------------------------------------------------------------------------------


def test_pauses_are_those_of_the_specification_with_jitter() -> None:
    assert RETRY_AFTER_S == (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    for attempts, pause in enumerate(RETRY_AFTER_S, start=1):
        assert retry_delay_s(attempts, jitter=0) == pause
        assert retry_delay_s(attempts, jitter=1) == pytest.approx(pause * 1.2)


def test_no_attempt_follows_the_last() -> None:
    assert retry_delay_s(len(RETRY_AFTER_S) + 1, jitter=0) is None
    assert retry_delay_s(len(RETRY_AFTER_S) + 1, jitter=0, asked_s=5) is None


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_is_the_end(status: int) -> None:
    attempted = judge(Answered(status), attempts=1, at=NOW)

    assert (attempted.ok, attempted.again_at, attempted.error) == (True, None, None)


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 404, 500])
def test_everything_else_is_tried_again(status: int) -> None:
    attempted = judge(Answered(status, retry_after="1000"), attempts=1, at=NOW)

    assert not attempted.ok
    assert attempted.again_at is not None
    assert timedelta(seconds=5) <= attempted.again_at - NOW <= timedelta(seconds=6)


@pytest.mark.parametrize("status", [429, 503])
def test_receiver_says_when_to_come_again(status: int) -> None:
    attempted = judge(Answered(status, retry_after="1000"), attempts=1, at=NOW)

    assert attempted.again_at == NOW + timedelta(seconds=1000)


def test_receiver_that_is_gone_wants_no_more() -> None:
    attempted = judge(Answered(410), attempts=1, at=NOW)

    assert (attempted.gone, attempted.again_at) == (True, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_retry_after_has_two_forms(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, now=NOW) == seconds
