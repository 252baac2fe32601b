"""Rate limits and spend caps of the model provider, shared by all workers.

One Lua step decides on a call: requests and tokens a minute (global, and requests per project), calls in
flight, a pause that the provider asked for, and money. Rates are smooth: a minute's requests are spread over
the minute, so a provider that counts in windows never sees too many. Waiting happens here, one poll at a time
per process. When the store is down calls are not held back; caps on money go by the last known figures.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

Refusal = Literal["rate", "budget", "price"]

STORE_FAILURES = Counter("llm_limits_store_failures_total", "Calls that the limits could not be asked about.")

PREFIX = "tg:{llm}"
NANO = 1_000_000_000  # money is counted in billionths of a dollar: whole numbers add up exactly
USED_SHARE = 0.985  # of a rate: the rest is for clocks and networks that are not exact
BURST_SHARE = 0.01  # of a minute's requests may go at once after a quiet time
LOOKAHEAD_MS = 250  # a slot so near is given now, with the time to sleep until it
TURN_MS = 25  # how long a slot waits for the project whose turn it is
FULL_MS = 100  # when to look again for the end of a call in another process
TICKET_MS = 180_000  # a call in flight for so long is taken for lost
FORGET_S = 600
SPEND_KEPT_S = 7 * 86_400
STORE_RETRY_S = 5.0
STORE_TIMEOUT_S = 2.0  # a busy event loop must not look like a dead store

# KEYS  rate (hash)       req_at, tok_at: when the next request, and the next token, is due; pause; turn;
#                         freed_at: when a call in flight ended last
#       project (hash)    req_at: the same for the project's own limit
#       inflight (zset)   ticket -> when it is taken for lost
#       waiting (zset)    "o<project>" (on demand) or "b<project>" (bulk) -> when it is forgotten
#       served (hash)     project -> turns taken, in the time of fair queueing
#       day, job          nanodollars spent or reserved
# Answers {1, wait_ms, day, job}: go ahead after wait_ms. {-1}: a cap is reached.
# {0, wait_ms, shared}: ask again; `shared` is 1 when no other call would fare better.
RESERVE = """
local rate, project, inflight, waiting, served, day, job = unpack(KEYS)
local step, slack, token_step = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local project_step, project_slack = tonumber(ARGV[4]), tonumber(ARGV[5])
local max_inflight, tokens, nano = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local day_cap, job_cap = tonumber(ARGV[9]), tonumber(ARGV[10])
local ticket, class, id = ARGV[11], ARGV[12], ARGV[13]
local lookahead, turn_ms = tonumber(ARGV[14]), tonumber(ARGV[15])
local full_ms, ticket_ms = tonumber(ARGV[16]), tonumber(ARGV[17])
local forget_s, spend_kept_s = ARGV[18], ARGV[19]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000

-- Money first: no waiting helps against a cap.
local spent_day, spent_job = 0, 0
if day_cap > 0 then
  spent_day = tonumber(redis.call('GET', day) or '0')
  if spent_day + nano > day_cap then return {-1} end
end
if job_cap >= 0 then
  spent_job = tonumber(redis.call('GET', job) or '0')
  if spent_job + nano > job_cap then return {-1} end
end

local state = redis.call('HMGET', rate, 'req_at', 'tok_at', 'pause', 'turn', 'freed_at')
local req_at, tok_at, pause = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[3] or 0)
local turn, freed_at = tonumber(state[4] or 0), tonumber(state[5] or 0)
local own_at = 0
if project_step > 0 then own_at = tonumber(redis.call('HGET', project, 'req_at') or 0) end

-- The project's own limit says nothing about the others: it neither takes a turn nor waits for one.
local own_ready = own_at - project_slack
local ready = math.max(pause, req_at - slack, tok_at, freed_at)
if max_inflight > 0 then
  redis.call('ZREMRANGEBYSCORE', inflight, '-inf', now)
  if redis.call('ZCARD', inflight) >= max_inflight then
    ready = math.max(ready, now + lookahead + full_ms)
  end
end

-- Who else waits decides whose turn it is, once there is a slot.
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
local others = redis.call('ZRANGE', waiting, 0, 99)
local my_turn = math.max(tonumber(redis.call('HGET', served, id) or 0), turn)
local held, shared = math.max(ready, own_ready), 1
if own_ready > ready then shared = 0 end
if held <= now + lookahead then
  for _, other in ipairs(others) do
    local their_class, their_id = string.sub(other, 1, 1), string.sub(other, 2)
    local before = class == 'b' and their_class == 'o'
    if not before and class == their_class and their_id ~= id then
      before = math.max(tonumber(redis.call('HGET', served, their_id) or 0), turn) < my_turn
    end
    -- Nobody holds a slot for ever: whoever had the turn and did not come loses it.
    if before and now < held + turn_ms then
      held, shared = math.max(now, held) + lookahead + turn_ms, 0
      break
    end
  end
end

local me = class .. id
if held > now + lookahead then
  local wait = math.max(1, math.ceil(held - now - lookahead))
  if own_ready <= now + lookahead then redis.call('ZADD', waiting, now + wait + 2 * lookahead, me) end
  return {0, wait, shared}
end

local go = math.max(now, ready, own_ready)
if step > 0 then req_at = math.max(req_at, go) + step end
if token_step > 0 then tok_at = math.max(tok_at, go) + tokens * token_step end
redis.call('HSET', rate, 'req_at', string.format('%.3f', req_at), 'tok_at', string.format('%.3f', tok_at),
  'turn', my_turn)
redis.call('EXPIRE', rate, forget_s)
if project_step > 0 then
  redis.call('HSET', project, 'req_at', string.format('%.3f', math.max(own_at, go) + project_step))
  redis.call('EXPIRE', project, forget_s)
end
redis.call('HSET', served, id, my_turn + 1)
redis.call('EXPIRE', served, forget_s)
redis.call('ZREM', waiting, me)
if max_inflight > 0 then
  redis.call('ZADD', inflight, go + ticket_ms, ticket)
  redis.call('PEXPIRE', inflight, 2 * ticket_ms)
end
if day_cap > 0 then
  spent_day = redis.call('INCRBY', day, ARGV[8])
  redis.call('EXPIRE', day, spend_kept_s)
end
if job_cap >= 0 then
  spent_job = redis.call('INCRBY', job, ARGV[8])
  redis.call('EXPIRE', job, spend_kept_s)
end
return {1, math.floor(go - now), spent_day, spent_job}
"""

# KEYS as above: rate, inflight, day, job. Gives back what was reserved and not used.
SETTLE = """
local rate, inflight, day, job = unpack(KEYS)
local ticket, token_ms, nano = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local has_inflight, has_day, has_job = ARGV[4] == '1', ARGV[5] == '1', ARGV[6] == '1'
if has_inflight then
  local clock = redis.call('TIME')
  redis.call('ZREM', inflight, ticket)
  redis.call('HSET', rate, 'freed_at', string.format('%.3f', clock[1] * 1000 + clock[2] / 1000))
end
if token_ms ~= 0 then
  local tok_at = redis.call('HGET', rate, 'tok_at')
  if tok_at then redis.call('HSET', rate, 'tok_at', string.format('%.3f', tonumber(tok_at) - token_ms)) end
end
if nano ~= 0 then
  if has_day then redis.call('DECRBY', day, ARGV[3]) end
  if has_job then redis.call('DECRBY', job, ARGV[3]) end
end
return 1
"""

# A pause only ever grows: the longest that any worker was told counts.
PAUSE = """
local clock = redis.call('TIME')
local until_ = clock[1] * 1000 + clock[2] / 1000 + tonumber(ARGV[1])
if until_ > tonumber(redis.call('HGET', KEYS[1], 'pause') or 0) then
  redis.call('HSET', KEYS[1], 'pause', string.format('%.3f', until_))
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return 1
"""


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
class _Demand:
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
class _Later:
    """Ask again after so many seconds; `shared` means that asking for somebody else is pointless, too."""

    seconds: float
    shared: bool


@dataclass(slots=True)
class _Waiter:
    demand: _Demand
    answer: asyncio.Future[QuotaTicket]


class CallQuotas:
    """The limits of one provider. Belongs to one event loop, like the client it is given."""

    def __init__(self, redis: Redis, limits: QuotaLimits, *, prefix: str = PREFIX) -> None:
        self.limits = limits
        self._prefix = prefix
        self._reserve = redis.register_script(RESERVE)
        self._settle_script = redis.register_script(SETTLE)
        self._pause_script = redis.register_script(PAUSE)
        self._step, self._slack = pace(limits.requests_per_minute)
        self._project_step, self._project_slack = pace(limits.project_requests_per_minute)
        self._token_step = pace(limits.tokens_per_minute)[0]
        self._lines: OrderedDict[tuple[bool, int], deque[_Waiter]] = OrderedDict()
        self._dispatcher: asyncio.Task[None] | None = None
        self._look_again = asyncio.Event()
        self._watch_until = 0.0
        self._store_down_until = 0.0
        self._local_spend: dict[str, int] = {}

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
        demand = _Demand(
            project_id,
            job_id,
            on_demand,
            tokens,
            nano(usd or 0.0),
            -1 if job_cap_usd is None else int(job_cap_usd * NANO),
            deadline if on_demand else min(deadline, time.monotonic() + self.limits.bulk_patience_s),
        )
        outcome = _Later(0.0, shared=True) if self._lines else await self._ask(demand)
        ticket = await self._wait_in_line(demand) if isinstance(outcome, _Later) else outcome
        if ticket.go_in_s > 0:
            await _until_slot(ticket)
        return ticket

    async def pause(self, seconds: float) -> None:
        """Nobody calls the provider for so long. A process without limits looks at the pause for a while."""
        self._watch_until = max(self._watch_until, time.monotonic() + seconds + 60)
        if self._store_is_down():
            return
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._pause_script([self._key("rate")], [round(seconds * 1000), FORGET_S])
        except (RedisError, OSError, TimeoutError):
            self._store_failed()

    async def close(self) -> None:
        """End waiting; those who wait are refused."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        for line in self._lines.values():
            for waiter in line:
                _tell(waiter, QuotaTicket(refusal="rate", retry_after_s=1.0))
        self._lines.clear()

    # one poll

    async def _ask(self, demand: _Demand) -> QuotaTicket | _Later:
        if self._store_is_down():
            return self._ask_locally(demand)
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                code, *rest = await self._reserve(self._reserve_keys(demand), self._reserve_args(demand))
        except (RedisError, OSError, TimeoutError):
            self._store_failed()
            return self._ask_locally(demand)
        if code < 0:
            return QuotaTicket(refusal="budget")
        if code == 0:
            return _Later(rest[0] / 1000, shared=bool(rest[1]))
        wait_ms, spent_day, spent_job = rest
        self._remember_spend(demand, spent_day, spent_job)
        return self._ticket(demand, go_in_s=wait_ms / 1000)

    def _reserve_keys(self, demand: _Demand) -> list[str]:
        return [
            self._key("rate"),
            self._key(f"project:{demand.project_id}"),
            self._key("inflight"),
            self._key("waiting"),
            self._key("served"),
            self._day_key(),
            self._job_key(demand),
        ]

    def _reserve_args(self, demand: _Demand) -> list[str | int | float]:
        return [
            self._step,
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

    def _ticket(self, demand: _Demand, *, go_in_s: float = 0.0) -> QuotaTicket:
        day = self._day_key()

        async def settle(tokens: int, nano: int) -> None:
            await self._settle(demand, day, tokens, nano)

        return QuotaTicket(go_in_s=go_in_s, _settle=settle)

    async def _settle(self, demand: _Demand, day: str, tokens: int, nano: int) -> None:
        over = demand.nano - nano
        has_day, has_job = self.limits.spend_cap_usd > 0, demand.job_cap_nano >= 0
        self._add_local_spend(demand, day, -over)
        token_ms = (demand.tokens - tokens) * self._token_step
        needed = self.limits.max_inflight > 0 or token_ms or (over and (has_day or has_job))
        if needed and not self._store_is_down():
            keys = [self._key("rate"), self._key("inflight"), day, self._job_key(demand)]
            flags = [int(flag) for flag in (self.limits.max_inflight > 0, has_day, has_job)]
            try:
                async with asyncio.timeout(STORE_TIMEOUT_S):
                    await self._settle_script(keys, [demand.ticket_id, f"{token_ms:.3f}", over, *flags])
            except (RedisError, OSError, TimeoutError):
                self._store_failed()
        self._look_again.set()

    # waiting

    async def _wait_in_line(self, demand: _Demand) -> QuotaTicket:
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
        return max(1.0, sum(map(len, self._lines.values())) * self._step / 1000)

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

    async def _serve(self, waiter: _Waiter) -> _Later | None:
        """Ask once for the head of a line. None when it left the line, with whatever answer."""
        outcome = await self._ask(waiter.demand)
        if isinstance(outcome, _Later):
            if time.monotonic() + outcome.seconds <= waiter.demand.deadline:
                return outcome
            outcome = QuotaTicket(refusal="rate", retry_after_s=outcome.seconds)
        self._leave_line(waiter)
        if not _tell(waiter, outcome):
            await outcome.settle(tokens=0, usd=0.0)
        return None

    # without the store

    def _ask_locally(self, demand: _Demand) -> QuotaTicket:
        day = self._day_key()
        day_cap = int(self.limits.spend_cap_usd * NANO)
        if day_cap > 0 and self._local_spend.get(day, 0) + demand.nano > day_cap:
            return QuotaTicket(refusal="budget")
        job_spend = self._local_spend.get(self._job_key(demand), 0)
        if 0 <= demand.job_cap_nano < job_spend + demand.nano:
            return QuotaTicket(refusal="budget")
        self._add_local_spend(demand, day, demand.nano)
        return self._ticket(demand)

    def _remember_spend(self, demand: _Demand, spent_day: int, spent_job: int) -> None:
        if self.limits.spend_cap_usd > 0:
            self._local_spend[self._day_key()] = spent_day
        if demand.job_cap_nano >= 0:
            self._local_spend[self._job_key(demand)] = spent_job
        while len(self._local_spend) > 1000:
            del self._local_spend[next(iter(self._local_spend))]

    def _add_local_spend(self, demand: _Demand, day: str, nano: int) -> None:
        if self.limits.spend_cap_usd > 0:
            self._local_spend[day] = self._local_spend.get(day, 0) + nano
        if demand.job_cap_nano >= 0:
            job = self._job_key(demand)
            self._local_spend[job] = self._local_spend.get(job, 0) + nano

    def _store_is_down(self) -> bool:
        return time.monotonic() < self._store_down_until

    def _store_failed(self) -> None:
        STORE_FAILURES.inc()
        self._store_down_until = time.monotonic() + STORE_RETRY_S

    # keys

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _day_key(self) -> str:
        return day_key(self._prefix)

    def _job_key(self, demand: _Demand) -> str:
        return job_key(self._prefix, demand.job_id)


def day_key(prefix: str) -> str:
    """What all projects spent today."""
    return f"{prefix}:spend:day:{time.strftime('%Y-%m-%d', time.gmtime())}"


def job_key(prefix: str, job_id: str | None) -> str:
    """What a job spent."""
    return f"{prefix}:spend:job:{job_id or '-'}"


def nano(usd: float) -> int:
    """Rounded up: a reservation never is smaller than what it stands for."""
    return -int(-usd * NANO // 1)


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
