"""Computing a summary: as the leader of a flight, or without a store to agree through.

The leader stores what it made when nothing forbids it, and hands it to those who wait in any case.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cache import entries
from cache.connection import StoreUnavailable
from cache.entries import Entry
from cache.journal import MemoryJournal, StoredJournals
from cache.metrics import SINGLE_FLIGHT
from cache.outcomes import Handing, Outcome, RememberedFailure, hand_over, hand_over_failure
from cache.single_flight import Lead, LocalFlights, SingleFlight
from cache.summary_reader import SummaryReader
from cache.summary_request import Request
from cache.summary_store import Found, SummaryStore, WriteResult
from jobs.errors import InternalError, JobFailure, TracegistError
from jobs.summarization import CacheStatus, Generation

logger = logging.getLogger(__name__)


class SummaryLeader:
    """`clock` in UNIX seconds; `dice` gives numbers from 0 to 1, for lives that do not all end at once."""

    def __init__(
        self,
        store: SummaryStore,
        *,
        reader: SummaryReader,
        flights: SingleFlight,
        journals: StoredJournals,
        ttl_s: float,
        clock: Callable[[], float],
        dice: Callable[[], float],
    ) -> None:
        self._store = store
        self._reader = reader
        self._flights = flights
        self._journals = journals
        self._local: LocalFlights[Generation] = LocalFlights()
        self._ttl_s = ttl_s
        self._clock = clock
        self._dice = dice

    def running(self, request: Request) -> bool:
        """Whether this process computes the same at the moment."""
        return self._local.running(request.local_name)

    async def lead(self, request: Request, lead: Lead, found: Found | None) -> Outcome:
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

    async def _lead_through(self, request: Request, lead: Lead, found: Found | None) -> Outcome:
        # Another leader may have committed between our look and our lease.
        found = await self._reader.look(request, least_epoch=lead.epoch) or found
        try:
            ready = await self._reader.ready(request, found)
            if ready is None:
                await request.text_fp()  # a fault of ours in rendering should come before the bill
                generation = await self._local.lead(request.local_name, lambda: self._compute(request, lead))
        except TracegistError as error:
            return await self._failed(request, lead, found, error)
        if ready is not None:
            entry, status = ready
            await self._hand_over(lead, hand_over(entry, "stale" if status == "stale_hit" else "stored"))
            return self._reader.outcome(entry, status)
        return await self._commit(request, lead, generation)

    def _compute(self, request: Request, lead: Lead) -> Awaitable[Generation]:
        return request.compute(self._journals.open(lead.journal, empty=not lead.journaled))

    async def _failed(
        self, request: Request, lead: Lead, found: Found | None, error: TracegistError
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
        stale = self._reader.stale(request, found, failure.status)
        if stale is None:
            await self._hand_over(lead, hand_over_failure(failure))
            raise error
        logger.info("An expired summary is served in place of %s.", error.code)
        await self._hand_over(lead, hand_over(stale, "stale"))
        return self._reader.outcome(stale, "stale_hit")

    async def _commit(self, request: Request, lead: Lead, generation: Generation) -> Outcome:
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
            return self._reader.outcome(entry, status)
        if result == "too_large":
            return await self._unstored(lead, entry, status)
        return await self._discarded(request, lead, entry)

    async def _entry(self, request: Request, lead: Lead, generation: Generation) -> Entry:
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

    async def _write(self, request: Request, lead: Lead, entry: Entry, body: bytes) -> WriteResult:
        if not await self._flights.may_commit(lead):
            return "refused"
        return await self._store.write(request.key, entry, epoch=lead.epoch, body=body)

    async def _unstored(self, lead: Lead, entry: Entry, status: CacheStatus) -> Outcome:
        await self._hand_over(lead, hand_over(entry, "unstored"))
        return Outcome(entry.generation, status)

    async def _discarded(self, request: Request, lead: Lead, entry: Entry) -> Outcome:
        """A newer result is there, or the entity was invalidated: ours is not stored."""
        SINGLE_FLIGHT.labels("discarded").inc()
        newer = await self._reader.newer(request, entry)
        handing: Handing = "unstored" if newer is None else "stored"
        await self._hand_over(lead, hand_over(newer or entry, handing))
        if newer is None:
            return Outcome(entry.generation, request.computed_status, discarded=True)
        return replace(self._reader.outcome(newer, request.computed_status), discarded=True)

    async def _hand_over(self, lead: Lead, outcome: bytes) -> None:
        # If this fails the lease runs out, and whoever takes over finds the entry.
        with contextlib.suppress(StoreUnavailable):
            await self._flights.finish(lead, outcome)

    async def compute_locally(self, request: Request, found: Found | None) -> Outcome:
        """Without the coordination store: one computation in this process, and nothing is stored."""
        SINGLE_FLIGHT.labels("local").inc()
        try:
            generation, _ = await self._local.run(
                request.local_name, lambda: request.compute(MemoryJournal())
            )
        except TracegistError as error:
            stale = self._reader.stale(request, found, error.status)
            if stale is None:
                raise
            return self._reader.outcome(stale, "stale_hit")
        return Outcome(generation, "unavailable")


def _our_fault() -> JobFailure:
    return JobFailure.of(InternalError("The summary could not be made.", code="internal_error"))
