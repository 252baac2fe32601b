"""Our message against the one that the installed Celery and kombu send."""

import json
from base64 import b64decode
from typing import Any

from celery import Celery
from kombu import Connection

from jobs.broker import make_celery
from jobs.envelopes import envelope

# What differs from message to message, and what only tells who sent it.
OWN = {"id", "root_id", "origin", "correlation_id", "delivery_tag", "reply_to"}


def sent_by_celery() -> dict[str, Any]:
    app: Celery = make_celery("memory://")
    with Connection("memory://") as connection:
        app.send_task("tracegist.text_repr", args=["job_1"], queue="render", connection=connection)
        message = connection.default_channel._get("render")  # type: ignore[attr-defined]
    app.close()
    return dict(message)


def without_own(message: dict[str, Any]) -> dict[str, Any]:
    comparable = {name: message[name] for name in ("content-encoding", "content-type")}
    for part in ("headers", "properties"):
        comparable[part] = {name: value for name, value in message[part].items() if name not in OWN}
    comparable["body"] = json.loads(b64decode(message["body"]))
    return comparable


def test_the_message_is_the_one_that_celery_sends() -> None:
    ours = json.loads(envelope("tracegist.text_repr", "job_1", "render"))

    assert without_own(ours) == without_own(sent_by_celery())


def test_every_message_has_ids_of_its_own() -> None:
    first, second = (json.loads(envelope("task", "job_1", "render")) for _ in range(2))

    assert first["headers"]["id"] != second["headers"]["id"]
    assert first["properties"]["delivery_tag"] != second["properties"]["delivery_tag"]
