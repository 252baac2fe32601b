"""The logs worker is killed while records come in: after the client's retries each is there exactly once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import ALL_TIME, counted, lines_of, listed
from tests.faults.conftest import StartStack
from tests.faults.support import EMBEDDED, kill_child, wait_for_new_child, wait_until, wait_until_ready
from tests.running import RunningStack

KILLS = int(os.environ.get("TEST_LOG_KILLS", "3"))
SENDERS = 3
BATCH = 400
QUERY = {"dateRange": ALL_TIME, "limit": 2000, "excludeAttributes": True}


class Sender(threading.Thread):
    """Sends batch after batch, each until it is acknowledged, as an exporter does."""

    def __init__(self, stack: RunningStack, number: int, stopped: Callable[[], bool]) -> None:
        super().__init__(name=f"sender-{number}")
        self._stack = stack
        self._number = number
        self._stopped = stopped
        self.acknowledged: list[str] = []
        self.retries = 0

    def run(self) -> None:
        with self._stack.client(timeout_s=8) as client:
            batch = 0
            while not self._stopped():
                names = [f"{self._number}/{batch}/{record}" for record in range(BATCH)]
                self._send(client, lines_of(map(record_of, names)))
                self.acknowledged += names
                batch += 1

    def _send(self, client: httpx2.Client, content: bytes) -> None:
        while True:
            try:
                answer = client.post(
                    "/logs/import", content=content, headers={"Content-Type": "application/x-ndjson"}
                )
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                assert answer.json() == {"accepted": BATCH, "rejected": 0, "errors": []}
                return
            assert answer is None or (answer.status_code == 503 and answer.headers["retry-after"])
            self.retries += 1
            time.sleep(0.2)


def record_of(name: str) -> dict[str, Any]:
    minute = hash_of(name) % 60
    return {
        "timestamp": f"2026-03-01T00:{minute:02d}:30.5Z",
        "body": name,
        "service_name": f"service-{minute % 3}",
        "severity_text": ("info", "error")[minute % 2],
    }


def hash_of(name: str) -> int:
    return sum(ord(char) * (place + 1) for place, char in enumerate(name))


@pytest.mark.timeout(60 + 30 * KILLS)  # each kill waits for the next worker
def test_no_record_is_lost_or_doubled_by_kill_9(start_stack: StartStack) -> None:
    stack = start_stack(EMBEDDED)
    done = threading.Event()
    senders = [Sender(stack, number, done.is_set) for number in range(SENDERS)]
    chosen = random.Random(KILLS)

    for sender in senders:
        sender.start()
    try:
        for _ in range(KILLS):
            reached = sum(len(sender.acknowledged) for sender in senders)
            wait_until(
                lambda before=reached: sum(len(s.acknowledged) for s in senders) > before + BATCH,
                "records go in",
                seconds=120,
            )
            time.sleep(chosen.random() * 0.3)
            wait_for_new_child(stack, "worker:logs", kill_child(stack, "worker:logs"))
    finally:
        done.set()
        for sender in senders:
            sender.join(150)
    wait_until_ready(stack)

    assert not any(sender.is_alive() for sender in senders)
    expected = [name for sender in senders for name in sender.acknowledged]
    with stack.client() as client:
        stored = [record["body"] for record in listed(client, QUERY)]
        assert sorted(stored) == sorted(expected)
        _check_counts(client, len(expected))


def _check_counts(client: httpx2.Client, total: int) -> None:
    """What the rollups say is what the records say."""
    hour = {"date_from": "2026-03-01T00:00:00Z", "date_to": "2026-03-01T00:59:59.999999Z"}
    for fields in ({}, {"severityLevels": ["error"]}, {"serviceNames": ["service-1"]}):
        rolled_up = {"dateRange": hour, **fields}
        raw = {**rolled_up, "filterGroup": [{"type": "log", "key": "body", "operator": "is_set"}]}
        answers = [
            client.post("/logs/sparkline?fresh=true", json={"query": query}) for query in (rolled_up, raw)
        ]
        assert [answer.headers["x-tracegist-source"] for answer in answers] == ["rollup", "raw"]
        assert answers[0].json() == answers[1].json()
    assert counted(client, {"dateRange": hour}) == total
    rebuilt = client.post(
        "/logs/rollups/rebuild", json={"dateRange": {"date_from": "2026-03-01", "date_to": "2026-03-02"}}
    )
    assert rebuilt.json() == {"mended": 0}
