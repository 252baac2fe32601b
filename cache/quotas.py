"""Rate limits and spend caps of the model provider, shared by all workers.

One Lua step decides on a call: requests and tokens a minute (global, and requests per project), calls in
flight, a pause that the provider asked for, and money. Rates are smooth: a minute's requests are spread over
the minute, so a provider that counts in windows never sees too many. Here is the waiting: one poll at a time
per process, on-demand calls before bulk, projects in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from redis.asyncio import Redis

from cache.money import NANO, PREFIX, nano
from cache.quota_store import Demand, Later, QuotaLimits, QuotaStore, QuotaTicket, pace

__all__ = ["CallQuotas", "QuotaLimits", "QuotaTicket", "pace"]


@dataclass(slots=True)
class _Waiter:
    demand: Demand
    answer: asyncio.Future[QuotaTicket]


class CallQuotas:
    """The limits of one provider. Belongs to one event loop, like the client it is given."""

    def __init__(self, redis: Redis, limits: QuotaLimits, *, prefix: str = PREFIX) -> None:
        self.limits = limits
        self._look_again = asyncio.Event()
        self._store = QuotaStore(redis, limits, prefix=prefix, settled=self._look_again.set)
        self._lines: OrderedDict[tuple[bool, int], deque[_Waiter]] = OrderedDict()
        self._dispatcher: asyncio.Task[None] | None = None
        self._watch_until = 0.0

    async def reserve(
        self,
        *,
        project_id: int,
        job_id: str | None,
        on_demand: bool,
        tokens: int,
        usd: float | None,
        job_cap_usd: float | None,
        deadline: float,
    ) -> QuotaTicket:
        """Wait for room until `deadline` (monotonic), bulk work only a while. Store faults never raise."""
        capped = self.limits.spend_cap_usd > 0 or job_cap_usd is not None
        if not capped and not self.limits.any_rate and time.monotonic() >= self._watch_until:
            return QuotaTicket()
        if capped and usd is None:
            return QuotaTicket(refusal="price")
        demand = Demand(
            project_id,
            job_id,
            on_demand,
            tokens,
            nano(usd or 0.0),
            -1 if job_cap_usd is None else int(job_cap_usd * NANO),
            deadline if on_demand else min(deadline, time.monotonic() + self.limits.bulk_patience_s),
        )
        outcome = Later(0.0, shared=True) if self._lines else await self._store.ask(demand)
        ticket = await self._wait_in_line(demand) if isinstance(outcome, Later) else outcome
        if ticket.go_in_s > 0:
            await _until_slot(ticket)
        return ticket

    async def pause(self, seconds: float) -> None:
        """Nobody calls the provider for so long. A process without limits looks at the pause for a while."""
        self._watch_until = max(self._watch_until, time.monotonic() + seconds + 60)
        await self._store.pause(seconds)

    async def close(self) -> None:
        """End waiting; those who wait are refused."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        for line in self._lines.values():
            for waiter in line:
                _tell(waiter, QuotaTicket(refusal="rate", retry_after_s=1.0))
        self._lines.clear()

    # waiting

    async def _wait_in_line(self, demand: Demand) -> QuotaTicket:
        waiter = _Waiter(demand, asyncio.get_running_loop().create_future())
        self._lines.setdefault(demand.line, deque()).append(waiter)
        self._look_again.set()
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch(), name="llm quotas")
        try:
            await asyncio.wait([waiter.answer], timeout=max(0.0, demand.deadline - time.monotonic()))
        except asyncio.CancelledError:
            if waiter.answer.done():
                await waiter.answer.result().settle(tokens=0, usd=0.0)
            raise
        finally:
            self._leave_line(waiter)
        if not _tell(waiter, QuotaTicket(refusal="rate", retry_after_s=self._queued_s())):
            return waiter.answer.result()
        return await waiter.answer

    def _queued_s(self) -> float:
        """About the time that those who wait in this process take."""
        return max(1.0, sum(map(len, self._lines.values())) * self._store.step / 1000)

    def _leave_line(self, waiter: _Waiter) -> None:
        line = self._lines.get(waiter.demand.line)
        if line is not None and waiter in line:
            line.remove(waiter)
        if line is not None and not line:
            self._lines.pop(waiter.demand.line, None)

    async def _dispatch(self) -> None:
        """Ask for those who wait until nobody does."""
        while self._lines:
            self._look_again.clear()
            later = await self._serve_one()
            if later is not None:
                await self._nap(later)

    async def _serve_one(self) -> float | None:
        """Let one go: on-demand first, projects in turn. The seconds to wait when nobody may."""
        waits: list[float] = []
        for key in sorted(self._lines, key=lambda line: not line[0]):
            line = self._lines.get(key)
            if not line:
                continue
            later = await self._serve(line[0])
            if later is None:
                if key in self._lines:
                    self._lines.move_to_end(key)
                return None
            waits.append(later.seconds)
            if later.shared:
                break
        return min(waits, default=None)

    async def _nap(self, seconds: float) -> None:
        """Until it is time to ask again, a call of this process ended, or somebody new came."""
        try:
            async with asyncio.timeout(seconds):
                await self._look_again.wait()
        except TimeoutError:
            return

    async def _serve(self, waiter: _Waiter) -> Later | None:
        """Ask once for the head of a line. None when it left the line, with whatever answer."""
        outcome = await self._store.ask(waiter.demand)
        if isinstance(outcome, Later):
            if time.monotonic() + outcome.seconds <= waiter.demand.deadline:
                return outcome
            outcome = QuotaTicket(refusal="rate", retry_after_s=outcome.seconds)
        self._leave_line(waiter)
        if not _tell(waiter, outcome):
            await outcome.settle(tokens=0, usd=0.0)
        return None


def _tell(waiter: _Waiter, ticket: QuotaTicket) -> bool:
    if waiter.answer.done():
        return False
    waiter.answer.set_result(ticket)
    return True


async def _until_slot(ticket: QuotaTicket) -> None:
    try:
        await asyncio.sleep(ticket.go_in_s)
    except asyncio.CancelledError:
        await ticket.settle(tokens=0, usd=0.0)
        raise
