"""What a worker does with messages that it has taken from a real server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Consumer, Queue

from jobs.broker import make_celery
from jobs.envelopes import BROKER_PREFIX
from tests.integration.cache.support import Server
from workers.taken_messages import GiveBack

LETTERS = Queue("letters", routing_key="letters")


@pytest.fixture
def app(server: Server) -> Iterator[Celery]:
    app = make_celery(server.url)
    with app.connection_for_write() as connection:
        for number in range(3):
            connection.Producer(routing_key="letters").publish(number, declare=[LETTERS])
    yield app
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    app.close()


@contextmanager
def taken(app: Celery, count: int) -> Iterator[list[Any]]:
    """Messages in the hands of a worker, whose channel closes at the end."""
    messages: list[Any] = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        consumer = Consumer(channel, [LETTERS], callbacks=[lambda _, message: messages.append(message)])
        GiveBack(None).start(SimpleNamespace(task_consumer=consumer))
        with consumer:
            while len(messages) < count:
                connection.drain_events(timeout=10)
            yield messages


def lists_in(server: Server) -> dict[str, int]:
    """What the broker keeps of messages: keys with their lengths, but for the bindings of its queues."""
    with redis.Redis.from_url(server.url) as client:
        keys = [key.decode().removeprefix(BROKER_PREFIX) for key in client.keys(f"{BROKER_PREFIX}*")]
        return {key: client.llen(BROKER_PREFIX + key) for key in keys if not key.startswith("_kombu")}


def test_messages_that_are_not_acknowledged_go_back_when_the_channel_closes(
    app: Celery, server: Server
) -> None:
    with taken(app, 3) as messages:
        messages[1].ack()
        meanwhile = lists_in(server)

    assert meanwhile == {}
    assert lists_in(server) == {"letters": 2}
    with taken(app, 2) as again:
        assert [message.payload for message in again] == [0, 2]


def test_an_acknowledged_message_leaves_nothing_behind(app: Celery, server: Server) -> None:
    with taken(app, 3) as messages:
        for message in messages:
            message.ack()

    assert lists_in(server) == {}


def test_a_broker_that_is_gone_does_not_keep_a_worker_from_closing(
    app: Celery, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        with taken(app, 3):
            server.stop()

        assert list(tmp_path.iterdir()) == []  # nor does it write messages to files
    finally:
        server.start()
