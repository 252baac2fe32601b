"""What was looked up lately, for a few seconds, with one look at a time for each name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST = 10_000


class Recent(Generic[K, V]):
    """Belongs to one event loop. Only what exists is remembered, so what is new works at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._found: dict[K, tuple[float, V]] = {}
        self._looks: dict[K, asyncio.Future[V | None]] = {}

    async def get(self, name: K, find: Callable[[], V | None]) -> tuple[V | None, bool]:
        """The value, and whether this call has looked it up; `find` runs in a thread and may raise.

        Who asks for the same meanwhile shares what that look finds: all requests of a busy caller would else
        go to the database in the moment in which the value is forgotten.
        """
        known = self.known(name)
        if known is None and name in self._looks:
            known = await asyncio.shield(self._looks[name])  # None: it may have been made since that look
        if known is not None:
            return known, False
        look = asyncio.ensure_future(asyncio.to_thread(find))
        self._looks[name] = look
        look.add_done_callback(partial(self._keep, name))
        # A caller that hangs up does not end the look for the others.
        return await asyncio.shield(look), True

    def known(self, name: K) -> V | None:
        """The value, if it was found lately."""
        found = self._found.get(name)
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def forget(self, name: K) -> None:
        self._found.pop(name, None)
        self._looks.pop(name, None)  # it may have read what was there before

    def _keep(self, name: K, look: asyncio.Future[V | None]) -> None:
        current = self._looks.get(name) is look
        if current:
            del self._looks[name]
        if look.cancelled() or look.exception() is not None:
            return  # whoever waits for it raises it
        value = look.result()
        if current and value is not None:
            if len(self._found) >= MOST:
                self._found.clear()
            self._found[name] = (time.monotonic() + self._seconds, value)
