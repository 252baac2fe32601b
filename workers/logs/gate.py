"""Inserts pass together; a repair of the rollups passes alone. One process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InsertGate:
    """Knows the inserts that are under way, when each began, and holds new ones back during a repair."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock`: microseconds since 1970."""
        self._clock = clock
        self._changed = threading.Condition()
        self._running: dict[object, int] = {}
        self._held = False
        self._last = 0

    @contextmanager
    def inserting(self) -> Iterator[int]:
        """Yields the time that the records of this insert are observed at."""
        key = object()
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            observed = self._running[key] = self._now()
        try:
            yield observed
        finally:
            with self._changed:
                del self._running[key]
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no insert runs, and hold back others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            self._held = True
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()

    def checkpoint(self) -> int:
        """Whatever becomes readable from now on is observed at this time or later."""
        with self._changed:
            return min(self._running.values(), default=self._now())

    def _now(self) -> int:
        # The wall clock may step back; what was promised as a checkpoint stays true.
        self._last = max(self._last, self._clock())
        return self._last
