"""One decision on a call at a time: asked of the shared store, or made alone while that is away.

Without the store calls are not held back; caps on money go by the last known figures.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.money import NANO, SPEND_KEPT_S, day_key, job_key, nano
from cache.quota_scripts import PAUSE, RESERVE, SETTLE

Refusal = Literal["rate", "budget", "price"]

STORE_FAILURES = Counter("llm_limits_store_failures_total", "Calls that the limits could not be asked about.")

USED_SHARE = 0.985  # of a rate: the rest is for clocks and networks that are not exact
BURST_SHARE = 0.01  # of a minute's requests may go at once after a quiet time
LOOKAHEAD_MS = 250  # a slot so near is given now, with the time to sleep until it
TURN_MS = 25  # how long a slot waits for the project whose turn it is
FULL_MS = 100  # when to look again for the end of a call in another process
TICKET_MS = 180_000  # a call in flight for so long is taken for lost
FORGET_S = 600
STORE_RETRY_S = 5.0
STORE_TIMEOUT_S = 2.0  # a busy event loop must not look like a dead store


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """0 is no limit. `bulk_patience_s`: bulk work that would wait longer goes back to its queue."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    project_requests_per_minute: int = 0
    max_inflight: int = 0
    spend_cap_usd: float = 0.0
    bulk_patience_s: float = 20.0

    @property
    def any_rate(self) -> bool:
        return bool(
            self.requests_per_minute
            or self.tokens_per_minute
            or self.project_requests_per_minute
            or self.max_inflight
        )


def pace(per_minute: int) -> tuple[float, float]:
    """Milliseconds between two requests, and by how many of them a request may come early.

    In any 60 s at most `per_minute` requests go: 98.5% evenly, 1% at once, the rest for jitter.
    """
    if per_minute <= 0:
        return 0.0, 0.0
    step = 60_000 / (per_minute * USED_SHARE)
    return step, step * max(0, int(per_minute * BURST_SHARE) - 1)


@dataclass(frozen=True, slots=True)
class Demand:
    project_id: int
    job_id: str | None
    on_demand: bool
    tokens: int
    nano: int
    job_cap_nano: int  # -1: no cap
    deadline: float
    ticket_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def line(self) -> tuple[bool, int]:
        return self.on_demand, self.project_id


@dataclass(slots=True)
class QuotaTicket:
    """What a call was granted, or why not. Settle a granted one exactly once."""

    refusal: Refusal | None = None
    retry_after_s: float = 0.0
    go_in_s: float = 0.0
    _settle: Callable[[int, int], Any] | None = None

    async def settle(self, *, tokens: int, usd: float) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            await settle(tokens, nano(usd))


@dataclass(frozen=True, slots=True)
class Later:
    """Ask again after so many seconds; `shared` means that asking for somebody else is pointless, too."""

    seconds: float
    shared: bool


class QuotaStore:
    """`settled` is called whenever a call of this process has ended."""

    def __init__(
        self, redis: Redis, limits: QuotaLimits, *, prefix: str, settled: Callable[[], None]
    ) -> None:
        self.limits = limits
        self._prefix = prefix
        self._settled = settled
        self._reserve = redis.register_script(RESERVE)
        self._settle_script = redis.register_script(SETTLE)
        self._pause_script = redis.register_script(PAUSE)
        self.step, self._slack = pace(limits.requests_per_minute)
        self._project_step, self._project_slack = pace(limits.project_requests_per_minute)
        self._token_step = pace(limits.tokens_per_minute)[0]
        self._down_until = 0.0
        self._local_spend: dict[str, int] = {}

    async def ask(self, demand: Demand) -> QuotaTicket | Later:
        """The ticket, or when to ask again. Store faults never raise."""
        if self.is_down:
            return self._ask_locally(demand)
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                code, *rest = await self._reserve(self._reserve_keys(demand), self._reserve_args(demand))
        except (RedisError, OSError, TimeoutError):
            self._failed()
            return self._ask_locally(demand)
        if code < 0:
            return QuotaTicket(refusal="budget")
        if code == 0:
            return Later(rest[0] / 1000, shared=bool(rest[1]))
        wait_ms, spent_day, spent_job = rest
        self._remember_spend(demand, spent_day, spent_job)
        return self._ticket(demand, go_in_s=wait_ms / 1000)

    async def pause(self, seconds: float) -> None:
        """Nobody calls the provider for so long."""
        if self.is_down:
            return
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._pause_script([self._key("rate")], [round(seconds * 1000), FORGET_S])
        except (RedisError, OSError, TimeoutError):
            self._failed()

    def _reserve_keys(self, demand: Demand) -> list[str]:
        return [
            self._key("rate"),
            self._key(f"project:{demand.project_id}"),
            self._key("inflight"),
            self._key("waiting"),
            self._key("served"),
            self._day_key(),
            self._job_key(demand),
        ]

    def _reserve_args(self, demand: Demand) -> list[str | int | float]:
        return [
            self.step,
            self._slack,
            self._token_step,
            self._project_step,
            self._project_slack,
            self.limits.max_inflight,
            demand.tokens,
            demand.nano,
            int(self.limits.spend_cap_usd * NANO),
            demand.job_cap_nano,
            demand.ticket_id,
            "o" if demand.on_demand else "b",
            demand.project_id,
            LOOKAHEAD_MS,
            TURN_MS,
            FULL_MS,
            TICKET_MS,
            FORGET_S,
            SPEND_KEPT_S,
        ]

    def _ticket(self, demand: Demand, *, go_in_s: float = 0.0) -> QuotaTicket:
        day = self._day_key()

        async def settle(tokens: int, nano: int) -> None:
            await self._settle(demand, day, tokens, nano)

        return QuotaTicket(go_in_s=go_in_s, _settle=settle)

    async def _settle(self, demand: Demand, day: str, tokens: int, nano: int) -> None:
        over = demand.nano - nano
        has_day, has_job = self.limits.spend_cap_usd > 0, demand.job_cap_nano >= 0
        self._add_local_spend(demand, day, -over)
        token_ms = (demand.tokens - tokens) * self._token_step
        needed = self.limits.max_inflight > 0 or token_ms or (over and (has_day or has_job))
        if needed and not self.is_down:
            keys = [self._key("rate"), self._key("inflight"), day, self._job_key(demand)]
            flags = [int(flag) for flag in (self.limits.max_inflight > 0, has_day, has_job)]
            try:
                async with asyncio.timeout(STORE_TIMEOUT_S):
                    await self._settle_script(keys, [demand.ticket_id, f"{token_ms:.3f}", over, *flags])
            except (RedisError, OSError, TimeoutError):
                self._failed()
        self._settled()

    # without the store

    def _ask_locally(self, demand: Demand) -> QuotaTicket:
        day = self._day_key()
        day_cap = int(self.limits.spend_cap_usd * NANO)
        if day_cap > 0 and self._local_spend.get(day, 0) + demand.nano > day_cap:
            return QuotaTicket(refusal="budget")
        job_spend = self._local_spend.get(self._job_key(demand), 0)
        if 0 <= demand.job_cap_nano < job_spend + demand.nano:
            return QuotaTicket(refusal="budget")
        self._add_local_spend(demand, day, demand.nano)
        return self._ticket(demand)

    def _remember_spend(self, demand: Demand, spent_day: int, spent_job: int) -> None:
        if self.limits.spend_cap_usd > 0:
            self._local_spend[self._day_key()] = spent_day
        if demand.job_cap_nano >= 0:
            self._local_spend[self._job_key(demand)] = spent_job
        while len(self._local_spend) > 1000:
            del self._local_spend[next(iter(self._local_spend))]

    def _add_local_spend(self, demand: Demand, day: str, nano: int) -> None:
        if self.limits.spend_cap_usd > 0:
            self._local_spend[day] = self._local_spend.get(day, 0) + nano
        if demand.job_cap_nano >= 0:
            job = self._job_key(demand)
            self._local_spend[job] = self._local_spend.get(job, 0) + nano

    @property
    def is_down(self) -> bool:
        """For a while after a fault nobody is asked."""
        return time.monotonic() < self._down_until

    def _failed(self) -> None:
        STORE_FAILURES.inc()
        self._down_until = time.monotonic() + STORE_RETRY_S

    # keys

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _day_key(self) -> str:
        return day_key(self._prefix)

    def _job_key(self, demand: Demand) -> str:
        return job_key(self._prefix, demand.job_id)
