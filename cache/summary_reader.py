"""What the store itself answers: entries of the same input, remembered failures, old entries in need.

A store that is down or slow never raises here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from cache.connection import StoreUnavailable
from cache.entries import Entry
from cache.outcomes import Outcome, RememberedFailure
from cache.summary_request import Request
from cache.summary_store import Found, Sought, SummaryStore
from jobs.summarization import CacheStatus

STALE_FOR = (502, 503, 504)


class SummaryReader:
    """`beta`: see the setting of early refresh; `dice` gives numbers from 0 to 1."""

    def __init__(
        self, store: SummaryStore, *, beta: float, clock: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        self._store = store
        self._beta = beta
        self._clock = clock
        self._dice = dice

    async def look(self, request: Request, *, least_epoch: int | None = None) -> Found | None:
        """None when the store cannot be used."""
        try:
            return await self._store.look_up(
                Sought(request.key, request.content_fp, request.budget_tokens),
                now=self._clock(),
                least_epoch=least_epoch,
            )
        except StoreUnavailable:
            return None

    async def ready(self, request: Request, found: Found | None) -> tuple[Entry, CacheStatus] | None:
        """What the store itself answers, if anything.

        Raises:
            RememberedFailure: it remembers that the same request failed.
        """
        if found is None:
            return None
        entry = found.entry
        if request.forced_at is not None:
            shared = entry is not None and entry.forced and entry.created_at >= request.forced_at
            if entry is not None and shared and await self.answers(request, found, entry):
                return entry, "follower"
            return None
        if entry is not None and await self.answers(request, found, entry):
            return entry, "hit"
        if found.negative is not None:
            stale = self.stale(request, found, 502)
            if stale is None:
                raise RememberedFailure(found.negative)
            return stale, "stale_hit"
        return None

    async def answers(self, request: Request, found: Found, entry: Entry) -> bool:
        """Whether the entry is fresh and of the same input: equal content, or content with equal text."""
        if not self.fresh(entry):
            return False
        if entry.content_fp == request.content_fp and entry.fits(request.budget_tokens):
            return True
        if await request.text_fp() != entry.text_fp:
            return False
        with contextlib.suppress(StoreUnavailable):
            await self._store.adopt(
                request.key,
                entry,
                epoch=found.epoch or 0,
                content_fp=request.content_fp,
                budget_tokens=request.budget_tokens,
                now=self._clock(),
            )
        return True

    def stale(self, request: Request, found: Found | None, status: int) -> Entry | None:
        """The matching entry to serve in place of an error with this status."""
        entry = None if found is None else found.entry
        if entry is None or request.forced_at is not None or status not in STALE_FOR:
            return None
        same_content = entry.content_fp == request.content_fp and entry.fits(request.budget_tokens)
        return entry if same_content or entry.text_fp == request.rendered else None

    async def newer(self, request: Request, entry: Entry) -> Entry | None:
        """The entry of a later generation, when it answers this request too."""
        found = await self.look(request)
        if found is None or found.entry is None or found.entry.fence <= entry.fence:
            return None
        return found.entry if await self.answers(request, found, found.entry) else None

    # times

    # times

    def fresh(self, entry: Entry) -> bool:
        return self._clock() + self._early_s(entry) < entry.expires_at

    def _early_s(self, entry: Entry) -> float:
        """Seconds by which to refresh early, by chance; none unless switched on."""
        if self._beta <= 0:
            return 0
        return -entry.generation.latency_ms / 1000 * self._beta * math.log(max(self._dice(), 1e-12))

    def age(self, entry: Entry) -> float:
        return max(0.0, self._clock() - entry.created_at)

    def outcome(self, entry: Entry, status: CacheStatus) -> Outcome:
        return Outcome(entry.generation, status, self.age(entry), entry.expires_at)
