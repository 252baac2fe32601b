"""The summary cache: answer from an entry, or let one execution compute and everybody have its result.

A store that is down or slow never raises here: requests are then answered without it, and identical ones
within the process still share one computation. Invalidation is the exception: it must not fail silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import redis.asyncio

from cache import entries, keys
from cache.connection import FaultCounter, StoreGate, StoreUnavailable
from cache.entries import Entry
from cache.journal import Journal, MemoryJournal, StoredJournals
from cache.keys import SummaryKey
from cache.metrics import CACHE_REQUESTS, SINGLE_FLIGHT
from cache.outcomes import (
    Handing,
    Outcome,
    RememberedFailure,
    error_of,
    hand_over,
    hand_over_failure,
    take_over,
)
from cache.single_flight import (
    POLL_S,
    SHORTEST_POLL_S,
    Ended,
    Flight,
    Follow,
    Lead,
    LocalFlights,
    SingleFlight,
)
from cache.summary_store import Found, SummaryStore, WriteResult
from jobs.errors import InternalError, JobFailure, TracegistError, Unavailable
from jobs.summarization import CacheStatus, Generation, Mode, SummarizeType

__all__ = ["Hit", "Journal", "Listed", "Negative", "Outcome", "RememberedFailure", "SummaryCache"]

logger = logging.getLogger(__name__)

MODES: tuple[Mode, ...] = ("minimal", "detailed")
STALE_FOR = (502, 503, 504)
COORDINATION_LIMIT_S = 3.0
COORDINATION_WIDTH = 256

Compute = Callable[[Journal], Awaitable[Generation]]
Render = Callable[[], Awaitable[str]]


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


@dataclass(slots=True)
class _Request:
    """One `get_or_compute`. The text is rendered when it is first needed, and once."""

    key: SummaryKey
    content_fp: str
    render: Render
    budget_tokens: int
    forced_at: float | None
    owner: str
    compute: Compute
    peeked: bool = False
    rendered: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def text_fp(self) -> str:
        if self.rendered is None:
            self.rendered = await self.render()
        return self.rendered

    @property
    def flight(self) -> Flight:
        fingerprint = keys.fingerprint(self.content_fp, self.key.variant)
        return Flight(self.key, fingerprint, "plain" if self.forced_at is None else "forced")

    @property
    def local_name(self) -> object:
        return self.flight, self.budget_tokens

    @property
    def computed_status(self) -> CacheStatus:
        return "miss" if self.forced_at is None else "refresh"


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
        self._coordination_gate = StoreGate(
            limit_s=COORDINATION_LIMIT_S,
            faults=FaultCounter(skip_s=skip_s, name="coordination"),
            width=COORDINATION_WIDTH,
        )
        self._store = SummaryStore(cache, gate=gate)
        self._journals = StoredJournals(coordination, gate=self._coordination_gate)
        self._flights = SingleFlight(coordination, gate=self._coordination_gate, lease_s=lease_s)
        self._local: LocalFlights[Generation] = LocalFlights()
        self._ttl_s = ttl_s
        self._beta = early_refresh_beta
        self._clock = clock
        self._dice = dice

    # reading

    async def peek(self, key: SummaryKey, *, content_fp: str, budget_tokens: int) -> Hit | Negative | None:
        """What can be answered without work; one round trip, and never an error of the store.

        A fresh hit wins over a remembered failure, and that over nothing; where a remembered failure meets a
        stale entry, the entry is returned, because `get_or_compute` will answer with it.
        """
        try:
            found = await self._store.look_up(
                key, content_fp=content_fp, budget_tokens=budget_tokens, now=self._clock()
            )
        except StoreUnavailable:
            return None
        entry = found.entry
        if entry is not None and entry.content_fp == content_fp and entry.fits(budget_tokens):
            fresh = self._fresh(entry)
            if fresh:
                CACHE_REQUESTS.labels("hit").inc()
            return Hit(entry, self._age(entry), stale=not fresh)
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
        request = _Request(key, content_fp, text_fp, budget_tokens, forced_at, owner, compute, peeked)
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

    async def _answer(self, request: _Request) -> Outcome:
        found = Found() if request.peeked else await self._look(request)
        ready = await self._ready(request, found)
        if ready is not None:
            return self._outcome(*ready)
        try:
            step = await self._acquire(request, found)
        except StoreUnavailable:
            return await self._compute_locally(request, found)
        if isinstance(step, Lead):
            return await self._lead(request, step, found)
        return step

    async def _look(self, request: _Request, *, least_epoch: int | None = None) -> Found | None:
        """None when the store cannot be used."""
        try:
            return await self._store.look_up(
                request.key,
                content_fp=request.content_fp,
                budget_tokens=request.budget_tokens,
                now=self._clock(),
                least_epoch=least_epoch,
            )
        except StoreUnavailable:
            return None

    async def _ready(self, request: _Request, found: Found | None) -> tuple[Entry, CacheStatus] | None:
        """What the store itself answers, if anything.

        Raises:
            RememberedFailure: it remembers that the same request failed.
        """
        if found is None:
            return None
        entry = found.entry
        if request.forced_at is not None:
            shared = entry is not None and entry.forced and entry.created_at >= request.forced_at
            if entry is not None and shared and await self._answers(request, found, entry):
                return entry, "follower"
            return None
        if entry is not None and await self._answers(request, found, entry):
            return entry, "hit"
        if found.negative is not None:
            stale = self._stale(request, found, 502)
            if stale is None:
                raise RememberedFailure(found.negative)
            return stale, "stale_hit"
        return None

    async def _answers(self, request: _Request, found: Found, entry: Entry) -> bool:
        """Whether the entry is fresh and of the same input: equal content, or content with equal text."""
        if not self._fresh(entry):
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

    def _stale(self, request: _Request, found: Found | None, status: int) -> Entry | None:
        """The matching entry to serve in place of an error with this status."""
        entry = None if found is None else found.entry
        if entry is None or request.forced_at is not None or status not in STALE_FOR:
            return None
        same_content = entry.content_fp == request.content_fp and entry.fits(request.budget_tokens)
        return entry if same_content or entry.text_fp == request.rendered else None

    # waiting for another execution

    async def _acquire(self, request: _Request, found: Found | None) -> Lead | Outcome:
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
        self, request: _Request, step: Follow | Ended, ended: asyncio.Event, *, least_epoch: int
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
                if time.monotonic() > trusted_until or self._local.running(request.local_name):
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

    def _taken_over(self, request: _Request, found: Found | None, ended: Ended) -> Outcome | None:
        """The leader's outcome for this request; None when it is of a text that was cut more than ours."""
        handed = take_over(ended.outcome)
        if isinstance(handed, JobFailure):
            stale = self._stale(request, found, handed.status)
            if stale is None:
                raise error_of(handed)
            return self._outcome(stale, "stale_hit")
        if handed is None or not handed.entry.fits(request.budget_tokens):
            return None
        status: CacheStatus = "stale_hit" if handed.handing == "stale" else "follower"
        if handed.handing == "unstored":
            return Outcome(handed.entry.generation, "unavailable" if found is None else status)
        return self._outcome(handed.entry, status)

    # computing here

    async def _lead(self, request: _Request, lead: Lead, found: Found | None) -> Outcome:
        async with self._flights.renewed(lead):
            try:
                return await self._lead_through(request, lead, found)
            except TracegistError:
                raise
            except Exception:
                await self._hand_over(lead, hand_over_failure(_our_fault()))
                raise
            except BaseException:
                # Canceled, by a deadline or a shutdown: somebody else takes over, journal included.
                with contextlib.suppress(StoreUnavailable):
                    await self._flights.release(lead)
                raise

    async def _lead_through(self, request: _Request, lead: Lead, found: Found | None) -> Outcome:
        # Another leader may have committed between our look and our lease.
        found = await self._look(request, least_epoch=lead.epoch) or found
        try:
            ready = await self._ready(request, found)
            if ready is None:
                await request.text_fp()  # a fault of ours in rendering should come before the bill
                generation = await self._local.lead(request.local_name, lambda: self._compute(request, lead))
        except TracegistError as error:
            return await self._failed(request, lead, found, error)
        if ready is not None:
            entry, status = ready
            await self._hand_over(lead, hand_over(entry, "stale" if status == "stale_hit" else "stored"))
            return self._outcome(entry, status)
        return await self._commit(request, lead, generation)

    def _compute(self, request: _Request, lead: Lead) -> Awaitable[Generation]:
        return request.compute(self._journals.open(lead.journal, empty=not lead.journaled))

    async def _failed(
        self, request: _Request, lead: Lead, found: Found | None, error: TracegistError
    ) -> Outcome:
        """A matching stale entry, else the error; those who wait get the same."""
        failure = JobFailure.of(error)
        if not isinstance(error, RememberedFailure):
            with contextlib.suppress(StoreUnavailable):
                await self._store.remember(
                    request.key,
                    failure.of_job(request.owner),
                    content_fp=request.content_fp,
                    epoch=lead.epoch,
                    fence=lead.fence,
                )
        stale = self._stale(request, found, failure.status)
        if stale is None:
            await self._hand_over(lead, hand_over_failure(failure))
            raise error
        logger.info("An expired summary is served in place of %s.", error.code)
        await self._hand_over(lead, hand_over(stale, "stale"))
        return self._outcome(stale, "stale_hit")

    async def _commit(self, request: _Request, lead: Lead, generation: Generation) -> Outcome:
        """Store the generation when nothing forbids it, and hand it to those who wait in any case."""
        entry = await self._entry(request, lead, generation)
        status = request.computed_status
        if generation.fallback_reason is not None:
            return await self._unstored(lead, entry, status)
        body = entries.encode(entry)
        try:
            result = await self._write(request, lead, entry, body)
        except StoreUnavailable:
            return await self._unstored(lead, entry, "unavailable")
        if result == "stored":
            await self._hand_over(lead, hand_over(entry, "stored", body=body))
            return self._outcome(entry, status)
        if result == "too_large":
            return await self._unstored(lead, entry, status)
        return await self._discarded(request, lead, entry)

    async def _entry(self, request: _Request, lead: Lead, generation: Generation) -> Entry:
        now = self._clock()
        return Entry(
            generation=generation,
            content_fp=request.content_fp,
            text_fp=await request.text_fp(),
            created_at=now,
            expires_at=round(now + self._ttl_s * (0.9 + 0.2 * self._dice()), 3),  # as the store keeps it
            fence=lead.fence,
            forced=request.forced_at is not None,
            budget_tokens=request.budget_tokens if generation.text.truncated_input else None,
        )

    async def _write(self, request: _Request, lead: Lead, entry: Entry, body: bytes) -> WriteResult:
        if not await self._flights.may_commit(lead):
            return "refused"
        return await self._store.write(request.key, entry, epoch=lead.epoch, body=body)

    async def _unstored(self, lead: Lead, entry: Entry, status: CacheStatus) -> Outcome:
        await self._hand_over(lead, hand_over(entry, "unstored"))
        return Outcome(entry.generation, status)

    async def _discarded(self, request: _Request, lead: Lead, entry: Entry) -> Outcome:
        """A newer result is there, or the entity was invalidated: ours is not stored."""
        SINGLE_FLIGHT.labels("discarded").inc()
        newer = await self._newer(request, entry)
        handing: Handing = "unstored" if newer is None else "stored"
        await self._hand_over(lead, hand_over(newer or entry, handing))
        if newer is None:
            return Outcome(entry.generation, request.computed_status, discarded=True)
        return replace(self._outcome(newer, request.computed_status), discarded=True)

    async def _newer(self, request: _Request, entry: Entry) -> Entry | None:
        """The entry of a later generation, when it answers this request too."""
        found = await self._look(request)
        if found is None or found.entry is None or found.entry.fence <= entry.fence:
            return None
        return found.entry if await self._answers(request, found, found.entry) else None

    async def _hand_over(self, lead: Lead, outcome: bytes) -> None:
        # If this fails the lease runs out, and whoever takes over finds the entry.
        with contextlib.suppress(StoreUnavailable):
            await self._flights.finish(lead, outcome)

    async def _compute_locally(self, request: _Request, found: Found | None) -> Outcome:
        """Without the coordination store: one computation in this process, and nothing is stored."""
        SINGLE_FLIGHT.labels("local").inc()
        try:
            generation, _ = await self._local.run(
                request.local_name, lambda: request.compute(MemoryJournal())
            )
        except TracegistError as error:
            stale = self._stale(request, found, error.status)
            if stale is None:
                raise
            return self._outcome(stale, "stale_hit")
        return Outcome(generation, "unavailable")

    # times

    def _fresh(self, entry: Entry) -> bool:
        return self._clock() + self._early_s(entry) < entry.expires_at

    def _early_s(self, entry: Entry) -> float:
        """Seconds by which to refresh early, by chance; none unless switched on."""
        if self._beta <= 0:
            return 0
        return -entry.generation.latency_ms / 1000 * self._beta * math.log(max(self._dice(), 1e-12))

    def _age(self, entry: Entry) -> float:
        return max(0.0, self._clock() - entry.created_at)

    def _outcome(self, entry: Entry, status: CacheStatus) -> Outcome:
        return Outcome(entry.generation, status, self._age(entry), entry.expires_at)


@contextlib.contextmanager
def _invalidating() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise Unavailable("The summary cache cannot be reached; try again.", retry_after_s=1) from error


def _our_fault() -> JobFailure:
    return JobFailure.of(InternalError("The summary could not be made.", code="internal_error"))
