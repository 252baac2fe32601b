"""What becomes of the messages that a worker holds when its channel to a Redis broker closes.

The broker keeps no copy of a taken message: the job record does that (docs/decisions/0023). A worker that
stops puts back what it has not begun, so that others need not wait until the record is looked at. kombu
would try each message on a broken connection and write those that fail to a file, for somebody to read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from celery import Celery, bootsteps
from kombu.transport.virtual import Channel

log = structlog.get_logger()


class GiveBack(bootsteps.StartStopStep):
    """Started for each connection, after the consumer of tasks and before it asks for any."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        channel = parent.task_consumer.channel
        if isinstance(channel, Channel):
            qos: Any = channel.qos
            qos.restore_unacked = partial(_give_back, channel)


def _give_back(channel: Any) -> list[object]:
    """Put back what is not acknowledged, as far as the broker can be reached; none for kombu to report."""
    qos = channel.qos
    qos._flush()
    held = list(qos._delivered.values())
    qos._delivered.clear()
    for done, message in enumerate(held):
        try:
            channel._restore(message)
        except channel.connection_errors:
            log.warning("messages_not_given_back", messages=len(held) - done)
            break
    return []


def install(app: Celery) -> None:
    app.steps["consumer"].add(GiveBack)
