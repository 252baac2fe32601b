"""Connections to the broker break, once and for a while."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from tests.faults.conftest import StartStack
from tests.faults.proxy import Wire
from tests.faults.support import RENDER, SUMMARIZE, Jobs, summary_of, text_of, wait_until
from tests.integration.cache.support import Server


@contextmanager
def broker_behind_a_wire() -> Iterator[tuple[Wire, str]]:
    """The broker under test, or a Valkey of its own; the wire to it and its address behind the wire."""
    if address := os.environ.get("TEST_BROKER_URL"):
        parts = urlsplit(address)
        place = (parts.hostname or "127.0.0.1", parts.port or 5672)
        with Wire(lambda: socket.create_connection(place)) as wire:
            login = parts.netloc.rpartition("@")[0]
            yield wire, parts._replace(netloc=f"{login}@127.0.0.1:{wire.port}").geturl()
        return
    with TemporaryDirectory(prefix="tg-") as folder:
        server = Server(Path(folder))
        server.start()

        def connect() -> socket.socket:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(server.url.removeprefix("unix://"))
            except OSError:
                end.close()
                raise
            return end

        with Wire(connect) as wire:
            yield wire, f"redis://127.0.0.1:{wire.port}/0"
        server.stop()


def test_jobs_and_callers_outlive_broken_connections_to_the_broker(start_stack: StartStack) -> None:
    with broker_behind_a_wire() as (wire, address):
        stack = start_stack({"TRACEGIST_BROKER_URL": address})
        before = stack.children()
        with stack.client() as client:
            jobs = Jobs(client)
            jobs.submit_all(RENDER, [text_of(f"before-{number}", lines=3000) for number in range(20)])

            wire.cut()
            jobs.submit_all(SUMMARIZE, [summary_of(f"cut-{number}") for number in range(20)])
            refused_after_cut = list(jobs.refused)

            wire.cut(stay=True)
            began = time.monotonic()
            refused = client.post(RENDER, json=text_of("without"))
            took = time.monotonic() - began
            time.sleep(3)
            wire.mend()
            wait_until(
                lambda: client.post(RENDER, json=text_of("again")).status_code == 200, "an answer", seconds=30
            )
            jobs.assert_each_ends_once()
            assert stack.children() == before

    assert [answer.text for answer in refused_after_cut] == []
    assert refused.status_code == 503
    assert refused.json()["code"] == "queue_unavailable"
    assert took < 10
