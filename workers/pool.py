"""Celery's pool of threads, which runs some tasks on an event loop instead.

A thread for each summary that waits for a model is woken three times, and has to get the interpreter's lock
from the loop each time: a quarter of the process's CPU. On the loop hundreds wait for free
(docs/decisions/0024). Accepting, acknowledging and counting stay Celery's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

import structlog
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.signals import worker_init
from kombu.serialization import loads, prepare_accept_content

log = structlog.get_logger()

Work = Callable[..., Coroutine[object, object, None]]


class Loop(Protocol):
    """`workers.event_loop.LoopThread`, or what holds one."""

    def run(self, coroutine: Coroutine[object, object, None]) -> None: ...

    def spawn(self, make: Callable[[], Coroutine[object, object, None]]) -> None: ...


_on_a_loop: dict[str, tuple[Work, Callable[[], Loop]]] = {}


def runs_on(loop: Callable[[], Loop], work: Work, *, task: str) -> None:
    """Run the task of this name as `work`, with its arguments, on the loop that `loop` gives."""
    _on_a_loop[task] = (work, loop)


class TaskPool(ThreadPool):
    """At most `limit` tasks at once in threads.

    On the loop are a quarter more: while `limit` of them wait for what takes long, others begin and end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loop_limit = self.limit + self.limit // 4
        self._slots = asyncio.Semaphore(self._loop_limit)
        self._accept = prepare_accept_content(self.app.conf.accept_content)
        self.stopped = False
        self._loop: Loop | None = None

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> Any:
        """Start a task; `callback` hears of its end. `args` are those of Celery's `fast_trace_task`."""
        if args[0] not in _on_a_loop:
            return super().on_apply(target, args, kwargs, callback, accept_callback, **options)
        work, loop = _on_a_loop[args[0]]
        self._loop = loop()
        self._loop.spawn(partial(self._run, work, args[3:6], callback, accept_callback))
        return None

    async def _run(self, work: Work, message: Any, callback: Any, accept_callback: Any) -> None:
        async with self._slots:
            if self.stopped:
                return  # its message was not begun: it goes back to the broker
            accept_callback(os.getpid(), time.monotonic())
            began = time.monotonic()
            try:
                await work(*self._arguments(*message))
            except Exception:
                log.exception("task_failed", task=work.__name__)
            callback((False, None, time.monotonic() - began))

    def _arguments(self, body: Any, content_type: Any, encoding: Any) -> list[Any]:
        if content_type:
            body = loads(body, content_type, encoding, accept=self._accept)
        return list(body[0])

    def on_stop(self) -> None:
        """Wait for what has begun; what waits for its turn is left to others."""
        self.stopped = True
        if self._loop is not None:
            self._loop.run(self._all_slots())
        super().on_stop()

    async def _all_slots(self) -> None:
        for _ in range(self._loop_limit):
            await self._slots.acquire()
        for _ in range(self._loop_limit):
            self._slots.release()


def install() -> None:
    """Use this pool in workers that are started with threads (`-P threads`)."""
    worker_init.connect(choose_pool)


def choose_pool(sender: Any, **_: object) -> None:
    if sender.pool_cls is ThreadPool:
        sender.pool_cls = TaskPool
