"""A worker connects anew when an acknowledgement fails, as for any other failure of its connection.

Celery only logs it. On Redis the message then holds its prefetch slot as long as the connection is thought
to be good. With all slots held nothing more is asked for, nobody notices, and the worker idles for ever.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, bootsteps

log = structlog.get_logger()


class Reconnect(bootsteps.StartStopStep):
    """Started for each connection, after the consumer of tasks and before it asks for any."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._channel: Any = None

    def start(self, parent: Any) -> None:
        self._channel = parent.task_consumer.channel
        self._channel.Message = self._message_of(type(self._channel).Message)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's interface
        self._channel = None

    def lost(self, channel: Any) -> bool:
        """Whether this is news: a failure on the connection in use, and the first one."""
        if channel is not self._channel:
            return False
        self._channel = None
        return True

    def _message_of(self, kind: Any) -> Any:
        step = self

        class Message(kind):  # type: ignore[misc]
            def ack_log_error(self, _logger: Any, errors: Any, multiple: bool = False) -> None:
                # Runs in the consumer's loop, which meets a connection error by connecting anew.
                try:
                    self.ack(multiple=multiple)
                except errors as error:
                    log.warning("message_not_acknowledged", error=type(error).__name__)
                    if step.lost(self.channel):
                        raise

        return Message


def install(app: Celery) -> None:
    app.steps["consumer"].add(Reconnect)
