"""Workers die while items of a bulk are with the provider's batch interface: one batch, every item."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import kill_child, wait_for_new_child, wait_until
from tests.faults.test_bulk import ITEMS, assert_complete, look, submit
from tests.running import RunningStack


@pytest.mark.timeout(300)
def test_batch_is_sent_once_whichever_worker_is_killed(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack(
        {
            **provider.settings(),
            "TRACEGIST_BULK_BATCH_POLL_S": "1",
            "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "2",
        }
    )
    provider.configure(batch_delay_ms=8000)
    with stack.client() as client:
        job_id = submit(client, query="?batch_api=always")
        wait_until(lambda: bool(look(client, job_id)["progress"]["running"]), "work on the requests")
        _kill(stack, "worker:llm.bulk")
        wait_until(lambda: provider.stats()["batches"] == 1, "a batch", seconds=90)
        for victim in ("worker:maintenance", "beat", "worker:llm.bulk"):
            _kill(stack, victim)
        wait_until(lambda: provider.stats()["batch_rows"] == ITEMS, "the answers", seconds=120)
        _kill(stack, "worker:maintenance")  # while they are taken in, or right after

        assert_complete(client, job_id)
        assert look(client, job_id)["progress"]["llm_calls"] == ITEMS
    stats = provider.stats()
    assert (stats["batches"], stats["batch_rows"], stats["requests"]) == (1, ITEMS, 0)


def _kill(stack: RunningStack, name: str) -> None:
    pid = kill_child(stack, name)
    wait_for_new_child(stack, name, pid)
