"""Requests, accepted jobs, and faults of processes, for the tests in this folder.

Every process that is stopped or killed here is a child of a stack that the test started, named by its id.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import httpx2

from tests.running import RunningStack, free_port

SUMMARIZE = "/llm_analytics/summarization/"
RENDER = "/llm_analytics/text_repr/"
ASYNC = {"Prefer": "respond-async"}
FINAL = {"succeeded", "failed", "canceled", "expired"}

# Losses are noticed sooner than in production, so that the tests need not wait for it.
QUICK = {"TRACEGIST_JOB_LEASE_S": "3", "TRACEGIST_JOB_HEARTBEAT_S": "1", "TRACEGIST_LEASE_S": "4"}
# The own store of a stack, also where others are tested.
EMBEDDED = {"REDIS_URL": "", "TRACEGIST_BROKER_URL": ""}


def summary_of(name: str) -> dict[str, Any]:
    """The body of a summary request that no other name shares."""
    error = {"code": 502, "message": f"upstream {name} refused"}
    messages = [{"role": "user", "content": f"Refund order {name}, please."}]
    properties = {"$ai_input": messages, "$ai_error": error, "$ai_is_error": True}
    event = {"id": name, "event": "$ai_generation", "properties": properties}
    return {"summarize_type": "event", "data": {"event": event}}


def text_of(name: str, *, lines: int = 1) -> dict[str, Any]:
    """The body of a text request; with many lines it takes a worker a while."""
    messages = [
        {"role": "user", "content": f"{name}: line {number} " + "words " * 20} for number in range(lines)
    ]
    event = {"id": name, "event": "$ai_generation", "properties": {"$ai_input": messages}}
    return {"event_type": "$ai_generation", "data": event}


def wait_until(reached: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


@dataclass(slots=True)
class Jobs:
    """The jobs that a stack has promised, and how each of them ended when it was first seen ended."""

    client: httpx2.Client
    accepted: list[str] = field(default_factory=list)
    refused: list[httpx2.Response] = field(default_factory=list)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def submit(self, path: str, body: dict[str, Any]) -> None:
        """Ask without waiting; an answer that never came may stand for a job, but promised none."""
        try:
            answer = self.client.post(path, json=body, headers=ASYNC)
        except httpx2.TransportError:
            return
        if answer.status_code == 202:
            self.accepted.append(answer.json()["id"])
        else:
            self.refused.append(answer)

    def submit_all(self, path: str, bodies: Iterable[dict[str, Any]]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda body: self.submit(path, body), bodies))

    def look(self, job_id: str) -> dict[str, Any] | None:
        """The job as it is now; None while the stack does not answer."""
        try:
            answer = self.client.get(f"/jobs/{job_id}/")
        except httpx2.TransportError:
            return None
        if answer.status_code >= 500:
            return None
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def all_ended(self) -> bool:
        for job_id in self.accepted:
            if job_id not in self.ended:
                job = self.look(job_id)
                if job is None or job["state"] not in FINAL:
                    return False
                self.ended[job_id] = job
        return True

    def assert_each_ends_once(self, *, seconds: float = 60) -> None:
        """Every accepted job ends within the time, well, and stays as it ended, live and in its row."""
        wait_until(self.all_ended, "the end of every accepted job", seconds=seconds)
        assert {job["state"] for job in self.ended.values()} <= {"succeeded"}
        time.sleep(1)
        for job_id, first in self.ended.items():
            assert self.look(job_id) == first
        rows = self.rows()
        for job_id, first in self.ended.items():
            assert rows[job_id]["finished_at"] == first["finished_at"]

    def rows(self) -> dict[str, dict[str, Any]]:
        """All jobs of the project by id, as the list shows them."""
        found, address = {}, "/jobs/?limit=100"
        while address:
            page = self.client.get(address).json()
            for job in page["results"]:
                assert job["id"] not in found
                found[job["id"]] = job
            address = page["next"]
        return found

    def results(self) -> list[Any]:
        return [self.client.get(f"/jobs/{job_id}/result/").json() for job_id in self.accepted]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process neither answers nor ends while the body runs."""
    os.kill(pid, SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, SIGCONT)


@contextmanager
def second_worker(stack: RunningStack, name: str) -> Iterator[None]:
    """One more worker of the same queue, beside that of the stack."""
    title = Path(f"/proc/{stack.children()[name]}/cmdline").read_text()
    options = title[title.index("(") + 1 : title.rindex(")")].split()  # Celery shows them so
    with _beside(stack, [sys.executable, "-m", "celery", *options, "-n", "second@%h"], {}):
        yield


@contextmanager
def second_shim(stack: RunningStack, settings: dict[str, str]) -> Iterator[str]:
    """One more shim with other settings, beside that of the stack; its address."""
    port = free_port()
    with _beside(stack, [sys.executable, "-m", "api_shim", "--port", str(port)], settings):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(f"{url}/_health"), "the second shim")
        yield url


@contextmanager
def _beside(stack: RunningStack, command: list[str], settings: dict[str, str]) -> Iterator[None]:
    environ = stack.variables() | settings
    with stack.log.open("ab") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        return httpx2.get(address, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, SIGKILL)


def kill_child(stack: RunningStack, name: str) -> int:
    """Kill one process of the stack; its id."""
    pid = stack.children()[name]
    kill(pid)
    return pid


def wait_for_new_child(stack: RunningStack, name: str, old: int) -> None:
    wait_until(lambda: stack.children().get(name, old) != old, f"a new {name}")


def wait_until_ready(stack: RunningStack) -> None:
    wait_until(lambda: _answers(f"{stack.url}/_ready"), "readiness", seconds=45)


def children_of(pid: int) -> list[int]:
    """Direct children, oldest first; those that a thread has started are listed with the thread."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            found += map(int, (task / "children").read_text().split())
    return sorted(found)


def threads_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Threads:")))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
