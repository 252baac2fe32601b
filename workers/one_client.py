"""A worker talks to a Redis broker through one client; kombu makes a new one for each message and each ack.

Making a client costs more than the command it sends: a fifth of what a worker spends on taking a message. The
connections are not the client's but the channel's, so that one client serves as well as many.
"""

from __future__ import annotations

import functools
from typing import Any

from celery import Celery, bootsteps


class OneClient(bootsteps.StartStopStep):
    """Started for each connection, after the consumer of tasks and before it asks for any."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        channel: Any = parent.task_consumer.channel
        if hasattr(channel, "_create_client"):  # kombu's transport for Redis
            channel._create_client = functools.cache(channel._create_client)


def install(app: Celery) -> None:
    app.steps["consumer"].add(OneClient)
