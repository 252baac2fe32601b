"""Circuit breaker of one model at one provider, its state shared by all workers.

A call asks its own process first; the store is asked for the state a few times a second, told of every
failure, and of successes only while there are failures to weigh them against. When the store is down each
process decides for itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

Verdict = Literal["success", "failure", "fatal", "neutral"]

FRESH_S = 0.25  # how old the known state may be before it is read again
STORE_RETRY_S = 5.0
STORE_TIMEOUT_S = 2.0  # a busy event loop must not look like a dead store
BUCKETS = 6  # of the window; the oldest is forgotten at once

# KEYS[1] (hash): row: failures in a row; f:<n>, s:<n>: failures and successes in bucket n of the window;
# open_until; openings: how often in a row it opened; probe: who tries; probe_until.
# ARGV: verdict or "" (only look), caller, failures in a row, least sample, window ms, open ms, longest open
# ms, probe ms, successes not told before, buckets.
# Answers {blocked ms, probe granted, failures known}.
STEP = """
local key, verdict, caller = KEYS[1], ARGV[1], ARGV[2]
local max_row, least, window = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local open_ms, longest_ms, probe_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local untold, buckets = tonumber(ARGV[9]), tonumber(ARGV[10])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local state = {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do state[flat[i]] = flat[i + 1] end
local open_until, openings = tonumber(state.open_until or 0), tonumber(state.openings or 0)
local probing = state.probe ~= nil and tonumber(state.probe_until or 0) > now
local mine = probing and state.probe == caller

local function open()
  openings = openings + 1
  local pause = math.min(longest_ms, open_ms * 2 ^ (openings - 1))
  redis.call('DEL', key)
  redis.call('HSET', key, 'open_until', now + pause, 'openings', openings)
  redis.call('PEXPIRE', key, pause + 10 * longest_ms)
  return {pause, 0, 1}
end

if openings > 0 then
  if verdict ~= '' then
    -- Calls from before the opening prove nothing; only the probe decides.
    if not mine then return {math.max(1, open_until - now), 0, 1} end
    if verdict == 'failure' or verdict == 'fatal' then return open() end
    redis.call('DEL', key)
    return {0, 0, 0}
  end
  if open_until > now then return {open_until - now, 0, 1} end
  if probing and not mine then return {1000, 0, 1} end
  redis.call('HSET', key, 'probe', caller, 'probe_until', now + probe_ms)
  return {0, 1, 1}
end

if verdict == 'fatal' then return open() end
local current = math.floor(now * buckets / window)
local failed, succeeded, known = 0, 0, 0
for name, value in pairs(state) do
  local kind, bucket = string.match(name, '^([fs]):(%d+)$')
  if kind then
    if tonumber(bucket) <= current - buckets then redis.call('HDEL', key, name)
    elseif kind == 'f' then failed = failed + value
    else succeeded = succeeded + value end
  end
end
local row = tonumber(state.row or 0)
if verdict == 'success' then
  row = 0
  if state.row then redis.call('HDEL', key, 'row') end
  if failed > 0 and untold > 0 then redis.call('HINCRBY', key, 's:' .. current, untold) end
elseif verdict == 'failure' then
  row, failed, succeeded = row + 1, failed + 1, succeeded + untold
  redis.call('HSET', key, 'row', row)
  redis.call('HINCRBY', key, 'f:' .. current, 1)
  if untold > 0 then redis.call('HINCRBY', key, 's:' .. current, untold) end
  redis.call('PEXPIRE', key, 2 * longest_ms)
  local many = failed + succeeded >= least and failed * 2 >= failed + succeeded
  if row >= max_row or many then return open() end
end
if failed > 0 or row > 0 then known = 1 end
return {0, 0, known}
"""

# A probe that ended without a verdict lets the next caller try.
RELEASE = """
if redis.call('HGET', KEYS[1], 'probe') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'probe', 'probe_until')
end
return 1
"""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    failures_in_a_row: int = 10
    least_sample: int = 20
    window_s: float = 30.0
    open_s: float = 30.0
    longest_open_s: float = 300.0
    probe_s: float = 65.0  # a little longer than one attempt may take


@dataclass(frozen=True, slots=True)
class CallAdmission:
    """0 seconds: go ahead. `probe` names the one call that tries whether the provider is back."""

    retry_after_s: float = 0.0
    probe: str | None = None


GO = CallAdmission()


class CircuitBreaker:
    """One for each base URL and model; every worker that uses the same pair shares the state."""

    def __init__(
        self,
        redis: Redis,
        *,
        base_url: str,
        model: str,
        rules: BreakerRules | None = None,
        prefix: str = "tg:{llm}",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules or BreakerRules()
        self._model = model
        digest = hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest()[:16]
        self._key = f"{prefix}:breaker:{digest}"
        self._step = redis.register_script(STEP)
        self._release = redis.register_script(RELEASE)
        self._now = monotonic
        self._blocked_until = 0.0
        self._half_open = False
        self._failures_known = False
        self._read_at = float("-inf")
        self._reading = False
        self._store_down_until = float("-inf")
        self._successes: deque[float] = deque()
        self._local = _LocalBreaker(self.rules)

    @property
    def open(self) -> bool:
        return self._half_open or self.blocked_s() > 0

    def blocked_s(self) -> float:
        """What this process knows, without asking anybody."""
        now = self._now()
        local = self._local.blocked_s(now) if now < self._store_down_until else 0.0
        return max(0.0, self._blocked_until - now, local)

    async def admit(self) -> CallAdmission:
        now = self._now()
        if (blocked := self.blocked_s()) > 0:
            return CallAdmission(blocked)
        if now < self._store_down_until:
            return CallAdmission(self._local.admit(now))
        if not self._half_open and (now - self._read_at < FRESH_S or self._reading):
            return GO
        return await self._look()

    async def record(self, admission: object, verdict: Verdict) -> None:
        """How an admitted call ended. Neutral: it says nothing of the provider's health."""
        probe = getattr(admission, "probe", None)
        if verdict == "neutral":
            await self._record_neutral(probe)
            return
        now = self._now()
        self._local.record(verdict, now)
        if verdict == "success":
            self._note_success(now)
            if probe is None and not self._failures_known:
                return
        await self._tell(verdict, probe, now)

    async def _record_neutral(self, probe: str | None) -> None:
        if probe is None or self._now() < self._store_down_until:
            return
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._release([self._key], [probe])
        except (RedisError, OSError, TimeoutError):
            self._store_failed()

    async def _look(self) -> CallAdmission:
        caller = uuid.uuid4().hex
        self._reading = True
        try:
            answer = await self._take_step("", caller, untold=0)
        finally:
            self._reading = False
        if answer is None:
            return CallAdmission(self._local.admit(self._now()))
        blocked_s, granted = answer
        if blocked_s > 0:
            return CallAdmission(blocked_s)
        return CallAdmission(probe=caller) if granted else GO

    async def _tell(self, verdict: Verdict, probe: str | None, now: float) -> None:
        if now < self._store_down_until:
            return
        untold = len(self._successes)
        self._successes.clear()
        await self._take_step(verdict, probe or "-", untold=untold)

    async def _take_step(self, verdict: str, caller: str, *, untold: int) -> tuple[float, bool] | None:
        """Seconds blocked, and whether the caller is the probe; None when the store is down."""
        rules, was_open = self.rules, self.open
        timings = (rules.window_s, rules.open_s, rules.longest_open_s, rules.probe_s)
        args: list[str | int] = [verdict, caller, rules.failures_in_a_row, rules.least_sample]
        args += [int(seconds * 1000) for seconds in timings]
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                blocked_ms, granted, known = await self._step([self._key], [*args, untold, BUCKETS])
        except (RedisError, OSError, TimeoutError):
            self._store_failed()
            return None
        now = self._now()
        self._read_at = now
        self._failures_known = bool(known)
        self._half_open = blocked_ms > 0 or bool(granted)
        self._blocked_until = now + blocked_ms / 1000
        self._log_change(was_open=was_open)
        return blocked_ms / 1000, bool(granted)

    def _log_change(self, *, was_open: bool) -> None:
        if self.open and not was_open:
            logger.warning("circuit breaker opened", extra={"model": self._model})
        elif was_open and not self.open:
            logger.info("circuit breaker closed", extra={"model": self._model})

    def _note_success(self, now: float) -> None:
        self._successes.append(now)
        while self._successes[0] < now - self.rules.window_s:
            self._successes.popleft()

    def _store_failed(self) -> None:
        self._store_down_until = self._now() + STORE_RETRY_S


class _LocalBreaker:
    """The same rules for one process alone. Takes over while the store is down."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._row = 0
        self._openings = 0
        self._open_until = 0.0
        self._probe_until = 0.0
        self._recent: deque[tuple[float, bool]] = deque(maxlen=10 * rules.least_sample)

    def blocked_s(self, now: float) -> float:
        return max(0.0, self._open_until - now) if self._openings else 0.0

    def admit(self, now: float) -> float:
        """0 to go ahead; while half open only one call at a time may."""
        if not self._openings:
            return 0.0
        if self._open_until > now:
            return self._open_until - now
        if self._probe_until > now:
            return 1.0
        self._probe_until = now + self._rules.probe_s
        return 0.0

    def record(self, verdict: Verdict, now: float) -> None:
        if verdict == "success":
            self._row = self._openings = 0
            self._probe_until = 0.0
            self._recent.append((now, True))
            return
        self._row += 1
        self._recent.append((now, False))
        in_a_row = self._row >= self._rules.failures_in_a_row
        if verdict == "fatal" or self._openings or in_a_row or self._mostly_failing(now):
            self._open(now)

    def _mostly_failing(self, now: float) -> bool:
        recent = [ok for at, ok in self._recent if at > now - self._rules.window_s]
        return len(recent) >= self._rules.least_sample and recent.count(False) * 2 >= len(recent)

    def _open(self, now: float) -> None:
        if self._open_until > now:
            return
        self._openings += 1
        pause = self._rules.open_s * 2 ** min(self._openings - 1, 10)
        self._open_until = now + min(self._rules.longest_open_s, pause)
        self._probe_until = 0.0
        self._recent.clear()
