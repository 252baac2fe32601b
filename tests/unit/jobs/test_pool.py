"""Tasks on an event loop, within Celery's pool of threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.thread import TaskPool as ThreadPool

from jobs.broker import make_celery
from workers import pool as pools
from workers.event_loop import LoopThread
from workers.pool import TaskPool, runs_on

THREADS = 4
ON_THE_LOOP = 5
TASK = "tests.on_the_loop"
BODY = b'[["job_1"], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


@dataclass
class Desk:
    """A pool, what its tasks were given, and what Celery heard of them."""

    pool: TaskPool
    go_on: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    ended: list[tuple[bool, Any, float]] = field(default_factory=list)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    async def work(self, job_id: str) -> None:
        self.begun.append(job_id)
        await asyncio.to_thread(self.go_on.wait)
        if job_id == "broken":
            raise RuntimeError("a fault of ours")

    def apply(self, body: Any = BODY, *, encoding: str | None = "utf-8", task: str = TASK) -> Any:
        form = "application/json" if isinstance(body, bytes) else None
        return self.pool.apply_async(
            self.in_a_thread,
            args=(task, "id", {}, body, form, encoding),
            accept_callback=lambda pid, _time: self.accepted.append(pid),
            callback=self.hear,
        )

    def in_a_thread(self, *_arguments: Any) -> tuple[bool, Any, float]:
        self.begun.append(threading.current_thread().name)
        return False, "in a thread", 0.0

    def hear(self, ended: tuple[bool, Any, float]) -> None:
        self.ended.append(ended)
        self.heard.release()

    def hear_of(self, count: int) -> None:
        for _ in range(count):
            assert self.heard.acquire(timeout=30)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(pools, "_on_a_loop", {})
    loop = LoopThread("test")
    pool = TaskPool(THREADS, app=make_celery("memory://"))
    pool.start()
    desk = Desk(pool)
    runs_on(lambda: loop, desk.work, task=TASK)
    yield desk
    desk.go_on.set()
    pool.stop()
    loop.stop()


def test_a_task_of_the_loop_gets_the_arguments_of_its_message(desk: Desk) -> None:
    desk.go_on.set()

    desk.apply()
    desk.apply((["job_2"], {}, {}), encoding=None)  # as Celery hands on what it has read already

    desk.hear_of(2)
    assert desk.begun == ["job_1", "job_2"]
    assert [ended[:2] for ended in desk.ended] == [(False, None), (False, None)]
    assert len(desk.accepted) == 2


def test_all_other_tasks_run_in_threads(desk: Desk) -> None:
    desk.apply(task="tests.another").wait()

    assert desk.ended == [(False, "in a thread", 0.0)]
    assert desk.begun[0].startswith("ThreadPoolExecutor")


def test_a_failed_task_ends_for_celery_as_well(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.go_on.set()

    desk.apply((["broken"], {}, {}), encoding=None)

    desk.hear_of(1)
    assert "a fault of ours" in capsys.readouterr().out
    assert len(desk.ended) == 1


def test_no_more_than_its_share_runs_on_the_loop_and_the_rest_goes_back(desk: Desk) -> None:
    for number in range(ON_THE_LOOP + 3):
        desk.apply(([f"job_{number}"], {}, {}), encoding=None)
    while len(desk.begun) < ON_THE_LOOP:
        threading.Event().wait(0.001)

    stopping = threading.Thread(target=desk.pool.stop)
    stopping.start()
    while not desk.pool.stopped:
        threading.Event().wait(0.001)
    desk.go_on.set()
    stopping.join(timeout=30)

    # What has begun is waited for; Celery never hears of the rest, so its messages stay unacknowledged.
    assert not stopping.is_alive()
    assert desk.begun == [f"job_{number}" for number in range(ON_THE_LOOP)]
    assert len(desk.accepted) == len(desk.ended) == ON_THE_LOOP


@pytest.mark.parametrize(("asked", "used"), [(ThreadPool, TaskPool), (ProcessPool, ProcessPool)])
def test_workers_with_threads_use_it(asked: Any, used: Any) -> None:
    worker = SimpleNamespace(pool_cls=asked)

    pools.choose_pool(worker)

    assert worker.pool_cls is used
