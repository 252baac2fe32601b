"""The channel of a worker on a real server: one client for all of its messages."""

from __future__ import annotations

from types import SimpleNamespace

from kombu import Connection, Consumer, Queue

from tests.integration.cache.support import Server
from workers.one_client import OneClient


def test_messages_are_taken_and_acknowledged_through_one_client(server: Server) -> None:
    with (
        Connection(f"redis+socket{server.url.removeprefix('unix')}") as connection,
        connection.channel() as channel,
    ):
        queue = Queue("letters", channel=channel, no_declare=False)
        got = []
        consumer = Consumer(channel, [queue], callbacks=[lambda body, message: got.append((body, message))])
        OneClient(None).start(SimpleNamespace(task_consumer=consumer))
        producer = connection.Producer(channel, routing_key="letters")
        client = channel._create_client()
        for number in range(3):
            producer.publish(number)
        with consumer:
            while len(got) < 3:
                connection.drain_events(timeout=10)
            assert client.hlen("unacked") == 3
            for _, message in got:
                message.ack()

        assert [body for body, _ in got] == [0, 1, 2]
        assert client.hlen("unacked") == 0
        assert channel._create_client() is client
