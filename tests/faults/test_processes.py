"""Each process of the stack is killed while accepted jobs wait and run; nothing is lost or runs on."""

from __future__ import annotations

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import (
    RENDER,
    SUMMARIZE,
    Jobs,
    alive,
    children_of,
    kill,
    kill_child,
    summary_of,
    text_of,
    wait_for_new_child,
    wait_until,
    wait_until_ready,
)
from tests.running import RunningStack


def test_accepted_jobs_outlive_every_process(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=500)
    with stack.client() as client:
        jobs = Jobs(client)
        for victim in ("worker:render", "child of worker:render", "worker:maintenance", "beat", "shim"):
            bodies = [text_of(f"{victim}-{number}", lines=3000) for number in range(20)]
            jobs.submit_all(RENDER, bodies)
            jobs.submit_all(SUMMARIZE, [summary_of(f"{victim}-{number}") for number in range(10)])
            _kill(stack, victim)
            wait_until_ready(stack)
            wait_until(jobs.all_ended, f"the end of all jobs after the loss of {victim}")

        assert jobs.refused == []
        assert len(jobs.accepted) == 5 * 30
        jobs.assert_each_ends_once()
        assert max(job["attempt"] for job in jobs.ended.values()) <= 2


def _kill(stack: RunningStack, victim: str) -> None:
    if victim.startswith("child of "):
        parent = stack.children()[victim.removeprefix("child of ")]
        wait_until(lambda: bool(children_of(parent)), f"a child of {victim}")
        child = children_of(parent)[0]
        kill(child)
        wait_until(lambda: not alive(child), "the end of the child")
        return
    pid = stack.children()[victim]
    below = children_of(pid)
    assert kill_child(stack, victim) == pid
    wait_for_new_child(stack, victim, pid)
    wait_until(lambda: not any(map(alive, below)), f"the end of what {victim} had started", seconds=10)
