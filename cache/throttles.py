"""Sliding windows over requests, exact, in one atomic step of the store.

The log of a caller is a list with the times of its accepted requests, newest first, as long as the largest
limit. A window is exhausted when the request `limit` places back is younger than the window. Refused requests
leave no trace. Times are the store's own, so all processes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter
from redis.asyncio import Redis

from cache.connection import Script, StoreGate, StoreUnavailable
from config.rates import Rate

STORE_FAILURES = Counter(
    "throttle_store_failures_total",
    "Requests that passed uncounted: the store of the throttles was away.",
)

TAKE: Final = """
local log, most, ttl_ms = KEYS[1], ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function time_at(place)
  return tonumber(redis.call('LINDEX', log, place) or '-inf')
end
local wait_ms = 0
for i = 3, #ARGV, 2 do
  wait_ms = math.max(wait_ms, time_at(ARGV[i] - 1) + ARGV[i + 1] - now)
end
if wait_ms <= 0 then
  redis.call('LPUSH', log, string.format('%.0f', now))
  redis.call('LTRIM', log, 0, most - 1)
  redis.call('PEXPIRE', log, ttl_ms)
end
local reply = {wait_ms}
for i = 3, #ARGV, 2 do
  local limit, window_ms = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local used, older = 0, math.min(limit, redis.call('LLEN', log))
  while used < older do
    local middle = math.floor((used + older) / 2)
    if time_at(middle) + window_ms > now then used = middle + 1 else older = middle end
  end
  reply[#reply + 1] = limit - used
  reply[#reply + 1] = used > 0 and time_at(used - 1) + window_ms - now or 0
end
return reply
"""


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of one rate: requests, and seconds until the oldest counted one leaves its window."""

    rate: Rate
    left: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`wait_s`: how long until every window has room; 0 when the request was accepted, and counted."""

    wait_s: float
    rooms: tuple[Room, ...]


class SlidingWindows:
    """Counts requests by name; a store that is away lets all of them pass."""

    def __init__(self, redis: Redis, *, gate: StoreGate) -> None:
        self._gate = gate
        self._take = Script(redis, TAKE)

    async def take(self, name: str, rates: Sequence[Rate]) -> Verdict | None:
        """Count one request under `name`, if all rates have room; None when nobody could count it."""
        most = max(rate.limit for rate in rates)
        ttl_ms = max(rate.window_s for rate in rates) * 1000
        windows = [number for rate in rates for number in (rate.limit, rate.window_s * 1000)]
        try:
            reply = await self._gate.run(
                lambda: self._take(most, ttl_ms, *windows, keys=[f"tg:throttle:{name}"])
            )
        except StoreUnavailable:
            STORE_FAILURES.inc()
            return None
        rooms = zip(rates, reply[1::2], reply[2::2], strict=True)
        return Verdict(reply[0] / 1000, tuple(Room(rate, left, ms / 1000) for rate, left, ms in rooms))
