"""The summary cache: answer from an entry, or let one execution compute and everybody have its result.

A store that is down or slow never raises here: requests are then answered without it, and identical ones
within the process still share one computation. Invalidation is the exception: it must not fail silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import redis.asyncio

from cache import keys
from cache.connection import FaultCounter, StoreGate, StoreUnavailable
from cache.entries import Entry
from cache.journal import Journal, StoredJournals
from cache.keys import SummaryKey
from cache.metrics import CACHE_REQUESTS, SINGLE_FLIGHT
from cache.outcomes import Outcome, RememberedFailure, error_of, take_over
from cache.single_flight import POLL_S, SHORTEST_POLL_S, Ended, Follow, Lead, SingleFlight
from cache.summary_leader import SummaryLeader
from cache.summary_reader import SummaryReader
from cache.summary_request import Compute, Render, Request
from cache.summary_store import Found, Sought, SummaryStore
from jobs.errors import JobFailure, Unavailable
from jobs.summarization import CacheStatus, Mode, SummarizeType

__all__ = ["Hit", "Journal", "Listed", "Negative", "Outcome", "RememberedFailure", "Sought", "SummaryCache"]

MODES: tuple[Mode, ...] = ("minimal", "detailed")
COORDINATION_LIMIT_S = 3.0
COORDINATION_WIDTH = 256


@dataclass(frozen=True, slots=True)
class Hit:
    """A matching entry. A stale one is only good in place of an error, or of a wait that ended."""

    entry: Entry
    age_s: float
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Negative:
    """The same request failed a moment ago; to be answered as it is, headers included."""

    failure: JobFailure


@dataclass(frozen=True, slots=True)
class Listed:
    """A summary that exists, whether or not it is of the current content."""

    entity_id: str
    title: str
    created_at: float
    model: str


class SummaryCache:
    """One for each process and event loop; close it before the clients."""

    def __init__(
        self,
        cache: redis.asyncio.Redis,
        coordination: redis.asyncio.Redis,
        *,
        ttl_s: float = 86_400,
        lease_s: float = 30,
        skip_s: float = 5,
        timeout_s: float = 0.1,
        early_refresh_beta: float = 0,
        gate: StoreGate | None = None,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
    ) -> None:
        gate = gate or StoreGate(limit_s=timeout_s, faults=FaultCounter(skip_s=skip_s))
        coordination_gate = StoreGate(
            limit_s=COORDINATION_LIMIT_S,
            faults=FaultCounter(skip_s=skip_s, name="coordination"),
            width=COORDINATION_WIDTH,
        )
        self._clock = clock
        self._store = SummaryStore(cache, gate=gate)
        self._flights = SingleFlight(coordination, gate=coordination_gate, lease_s=lease_s)
        self._reader = SummaryReader(self._store, beta=early_refresh_beta, clock=clock, dice=dice)
        self._leader = SummaryLeader(
            self._store,
            reader=self._reader,
            flights=self._flights,
            journals=StoredJournals(coordination, gate=coordination_gate),
            ttl_s=ttl_s,
            clock=clock,
            dice=dice,
        )

    # reading

    async def peek(self, key: SummaryKey, *, content_fp: str, budget_tokens: int) -> Hit | Negative | None:
        """What can be answered without work; one round trip, and never an error of the store.

        A fresh hit wins over a remembered failure, and that over nothing; where a remembered failure meets a
        stale entry, the entry is returned, because `get_or_compute` will answer with it.
        """
        [peeked] = await self.peek_all([Sought(key, content_fp, budget_tokens)])
        return peeked

    async def peek_all(self, sought: Sequence[Sought]) -> list[Hit | Negative | None]:
        """The same for requests of one project, in order; still one round trip."""
        try:
            found = await self._store.look_up_all(sought, now=self._clock())
        except StoreUnavailable:
            return [None] * len(sought)
        return [self._peeked(one, seen) for one, seen in zip(sought, found, strict=True)]

    def _peeked(self, sought: Sought, found: Found) -> Hit | Negative | None:
        entry = found.entry
        if entry is not None and entry.content_fp == sought.content_fp and entry.fits(sought.budget_tokens):
            fresh = self._reader.fresh(entry)
            if fresh:
                CACHE_REQUESTS.labels("hit").inc()
            return Hit(entry, self._reader.age(entry), stale=not fresh)
        if found.negative is not None:
            CACHE_REQUESTS.labels("negative").inc()
            headers = {**found.negative.headers, "X-Cache": "negative"}
            return Negative(replace(found.negative, headers=headers))
        return None

    async def batch_check(
        self,
        project_id: int,
        entity_ids: Sequence[str],
        *,
        mode: Mode,
        variant: str,
        summarize_type: SummarizeType = "trace",
    ) -> list[Listed]:
        """The entities with an unexpired summary, in order, each once; empty when the store is down."""
        ids = list(dict.fromkeys(entity_ids))
        entities = [keys.entity_text(project_id, summarize_type, entity_id) for entity_id in ids]
        if not ids:
            return []
        try:
            found = await self._store.listed(
                project_id, entities, member=f"{mode}:{variant}", now=self._clock()
            )
        except StoreUnavailable:
            return []
        return [
            Listed(entity_id, entry.generation.summary.title, entry.created_at, entry.generation.model)
            for entity_id, entry in zip(ids, found, strict=True)
            if entry is not None
        ]

    # forgetting

    async def invalidate(
        self,
        project_id: int,
        entities: Sequence[tuple[SummarizeType, str]],
        *,
        modes: Sequence[Mode] = MODES,
    ) -> int:
        """Delete all summaries of these entities, whatever their variant; how many there were.

        Generations in flight at this moment are not stored. The floors are raised in both stores, in the
        coordination store first: an answer that is written in between is then deleted like the others.

        Raises:
            Unavailable: a store cannot be reached; some summaries may remain.
        """
        names = list(dict.fromkeys(keys.entity_text(project_id, *entity) for entity in entities))
        if not names or not modes:
            return 0
        with _invalidating():
            floor = await self._flights.raise_floors(names, modes=modes)
            return await self._store.invalidate(project_id, names, modes=modes, floor=floor)

    async def invalidate_all(self, project_id: int) -> None:
        """Forget all summaries of the project at once; generations in flight are not stored.

        Raises:
            Unavailable: a store cannot be reached; the summaries may remain.
        """
        with _invalidating():
            epoch = await self._flights.bump_epoch(project_id)
            await self._store.raise_epoch(project_id, epoch)

    # computing

    async def get_or_compute(
        self,
        key: SummaryKey,
        *,
        content_fp: str,
        text_fp: Render,
        budget_tokens: int,
        forced_at: float | None,
        owner: str,
        compute: Compute,
        peeked: bool = False,
    ) -> Outcome:
        """The summary from the cache, another execution, or `compute`, which is called at most once.

        `text_fp` renders the text and returns its fingerprint; it too is called at most once. `forced_at` is
        when a request with `force_refresh` arrived (UNIX seconds), None for all others. `owner` is the job.
        `peeked`: somebody has just looked and found nothing, so the first look here is left out.

        Raises:
            TracegistError: what `compute` raised, here or in the execution that was waited for.
            RememberedFailure: the same request failed a moment ago.
        """
        request = Request(key, content_fp, text_fp, budget_tokens, forced_at, owner, compute, peeked)
        try:
            outcome = await self._answer(request)
        except RememberedFailure:
            CACHE_REQUESTS.labels("negative").inc()
            raise
        CACHE_REQUESTS.labels(outcome.status).inc()
        return outcome

    async def aclose(self) -> None:
        """Stop listening. The clients belong to the caller."""
        await self._flights.aclose()

    async def _answer(self, request: Request) -> Outcome:
        found = Found() if request.peeked else await self._reader.look(request)
        ready = await self._reader.ready(request, found)
        if ready is not None:
            return self._reader.outcome(*ready)
        try:
            step = await self._acquire(request, found)
        except StoreUnavailable:
            return await self._leader.compute_locally(request, found)
        if isinstance(step, Lead):
            return await self._leader.lead(request, step, found)
        return step

    # waiting for another execution

    async def _acquire(self, request: Request, found: Found | None) -> Lead | Outcome:
        """The lead, or the outcome of the execution that had it.

        Raises:
            StoreUnavailable: there is no way to know who leads.
        """
        least_epoch = 0 if found is None or found.epoch is None else found.epoch
        step = await self._flights.acquire(
            request.flight, token=request.token, owner=request.owner, least_epoch=least_epoch
        )
        if isinstance(step, Lead):
            SINGLE_FLIGHT.labels("leader").inc()
            return step
        SINGLE_FLIGHT.labels("follower").inc()
        async with self._flights.notices.expected(request.flight.name) as ended:
            while True:
                step = await self._follow(request, step, ended, least_epoch=least_epoch)
                if isinstance(step, Lead):
                    SINGLE_FLIGHT.labels("takeover").inc()
                    return step
                outcome = self._taken_over(request, found, step)
                if outcome is not None:
                    return outcome

    async def _follow(
        self, request: Request, step: Follow | Ended, ended: asyncio.Event, *, least_epoch: int
    ) -> Lead | Ended:
        """Wait until the flight ends or its lease runs out.

        While the lease that was last seen may still run, a store that does not answer is asked again: its
        leader is probably about to finish, and computing here would be a second call.
        """
        waited = step if isinstance(step, Follow) else None
        trusted_until = time.monotonic() + (waited.left_s if waited else 0)
        while True:
            try:
                now = await self._flights.acquire(
                    request.flight,
                    token=request.token,
                    owner=request.owner,
                    least_epoch=least_epoch,
                    waited=waited,
                )
            except StoreUnavailable:
                if time.monotonic() > trusted_until or self._leader.running(request):
                    raise
                await asyncio.sleep(SHORTEST_POLL_S)
            else:
                if not isinstance(now, Follow):
                    return now
                waited = now
                trusted_until = time.monotonic() + now.left_s
            left_s = max(SHORTEST_POLL_S, trusted_until - time.monotonic() + 0.01)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), min(POLL_S, left_s))
            ended.clear()

    def _taken_over(self, request: Request, found: Found | None, ended: Ended) -> Outcome | None:
        """The leader's outcome for this request; None when it is of a text that was cut more than ours."""
        handed = take_over(ended.outcome)
        if isinstance(handed, JobFailure):
            stale = self._reader.stale(request, found, handed.status)
            if stale is None:
                raise error_of(handed)
            return self._reader.outcome(stale, "stale_hit")
        if handed is None or not handed.entry.fits(request.budget_tokens):
            return None
        status: CacheStatus = "stale_hit" if handed.handing == "stale" else "follower"
        if handed.handing == "unstored":
            return Outcome(handed.entry.generation, "unavailable" if found is None else status)
        return self._reader.outcome(handed.entry, status)


@contextlib.contextmanager
def _invalidating() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise Unavailable("The summary cache cannot be reached; try again.", retry_after_s=1) from error
