"""One asyncio loop in a thread of its own, shared by all tasks of a process that wait for a model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TypeVar

import uvloop

T = TypeVar("T")


class LoopThread:
    """Tasks hand it coroutines and wait; hundreds may be in flight on the one loop."""

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._spawned: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run on the loop, block this thread until the result is there."""
        return self.start(coroutine).result()

    def start(self, coroutine: Coroutine[object, object, T]) -> Future[T]:
        """Run on the loop; the result comes when it is there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def spawn(self, make: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run on the loop; nobody learns of its end. It costs less than `start`."""
        self._loop.call_soon_threadsafe(self._spawn, make)

    def _spawn(self, make: Callable[[], Coroutine[object, object, None]]) -> None:
        task = self._loop.create_task(make())
        self._spawned.add(task)  # the loop itself holds its tasks weakly
        task.add_done_callback(self._spawned.discard)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()
