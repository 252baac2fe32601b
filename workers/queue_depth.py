"""How many messages wait in the broker."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import ChannelError as AmqpChannelError
from celery import current_app
from kombu.exceptions import ChannelError


def queue_depth(queue: str) -> int:
    """Messages that no worker has taken; a Redis queue that is empty does not exist."""
    with current_app.connection_for_write() as connection:
        try:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue, passive=True).message_count)
        except (ChannelError, AmqpChannelError):
            return 0
