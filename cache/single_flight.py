"""One computes, the rest wait for it: leases, fences, floors and epochs in the coordination store.

A *flight* is one key with one content fingerprint; it has a forced and an unforced lane. Whoever acquires a
lane leads it under a lease with a fence. Fences grow for each entity and never repeat: they are microseconds
of the store's clock, so a store that lost its data still gives higher ones. An invalidation raises the
entity's floor (or the project's epoch); results with a fence at or below it may not be stored, and nobody
joins such a flight. The leader's outcome stays in the flight for a few seconds, for those who waited on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import redis.asyncio

from cache import keys
from cache.connection import STORE_FAULTS, Argument, Script, StoreGate, StoreUnavailable
from cache.keys import SummaryKey

T = TypeVar("T")

Lane = Literal["forced", "plain"]

OUTCOME_LIFE_MS = 10_000
FENCE_LIFE_MS = 86_400_000
POLL_S = 1.0
SHORTEST_POLL_S = 0.05

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function text(number)
  return string.format('%.0f', number)
end
"""

# KEYS: flight, fences of the entity, epoch of the project.
# ARGV: token, owner, lease in ms, lane, mode, least epoch, lane and fence that the caller waited for, how
# long an outcome (ms) and fences (ms) are kept, beginning and end of the journal's name. A lead comes with
# whether there is a journal: of an execution that died.
ACQUIRE = (
    _NOW
    + """
local flight, fences, epochs = unpack(KEYS)
local token, owner, lease, lane, mode, least = unpack(ARGV, 1, 6)
local waited_lane, waited_fence, outcome_life, fence_life, journal, journal_end = unpack(ARGV, 7)
local epoch = redis.call('GET', epochs) or '0'
if tonumber(least) > tonumber(epoch) then
  epoch = least
  redis.call('SET', epochs, epoch)
end
local floor = redis.call('HGET', fences, 'floor:' .. mode) or '0'
local function journaled(held_epoch)
  return redis.call('EXISTS', journal .. held_epoch .. ':' .. floor .. journal_end)
end

if waited_lane ~= '' then
  local done, outcome = unpack(redis.call('HMGET', flight, waited_lane .. ':done', waited_lane .. ':outcome'))
  if done and outcome and tonumber(done) >= tonumber(waited_fence) then
    return {'done', outcome}
  end
end

local lanes = lane == 'forced' and {'forced'} or {'plain', 'forced'}
for _, name in ipairs(lanes) do
  local holder, fence, ends, job, held_epoch = unpack(redis.call('HMGET', flight,
    name .. ':token', name .. ':fence', name .. ':ends', name .. ':owner', name .. ':epoch'))
  if holder and holder == token then
    return {'lead', fence, held_epoch, floor, journaled(held_epoch)}
  end
  local joinable = holder and tonumber(ends) > now
    and tonumber(fence) > tonumber(floor) and held_epoch == epoch
  if joinable then
    return {'follow', name, fence, job, text((tonumber(ends) - now) / 1000)}
  end
end

local last = redis.call('HGET', fences, 'last') or '0'
local fence = text(math.max(tonumber(last) + 1, now))
redis.call('HSET', fences, 'last', fence)
redis.call('PEXPIRE', fences, fence_life)
redis.call('HSET', flight, lane .. ':token', token, lane .. ':fence', fence, lane .. ':owner', owner,
  lane .. ':ends', text(now + tonumber(lease) * 1000), lane .. ':epoch', epoch)
local life = tonumber(lease) + tonumber(outcome_life)
if redis.call('PTTL', flight) < life then
  redis.call('PEXPIRE', flight, life)
end
return {'lead', fence, epoch, floor, journaled(epoch)}
"""
)

# KEYS: flight. ARGV: token, lease in ms, lane, how long an outcome is kept.
RENEW = (
    _NOW
    + """
local token, lease, lane, outcome_life = unpack(ARGV)
if redis.call('HGET', KEYS[1], lane .. ':token') ~= token then
  return 0
end
redis.call('HSET', KEYS[1], lane .. ':ends', text(now + tonumber(lease) * 1000))
local life = tonumber(lease) + tonumber(outcome_life)
if redis.call('PTTL', KEYS[1]) < life then
  redis.call('PEXPIRE', KEYS[1], life)
end
return 1
"""
)

# KEYS: fences of the entity, epoch of the project. ARGV: fence, epoch, mode, how long fences are kept.
# A fence older than the memory of floors is refused: an invalidation might be forgotten already.
MAY_COMMIT = (
    _NOW
    + """
local fence, epoch, mode, fence_life = unpack(ARGV)
local floor = redis.call('HGET', KEYS[1], 'floor:' .. mode) or '0'
local current = redis.call('GET', KEYS[2]) or epoch
local fresh = tonumber(fence) > now - tonumber(fence_life) * 1000
if current == epoch and tonumber(fence) > tonumber(floor) and fresh then
  return 1
end
return 0
"""
)

# KEYS: flight, journal. ARGV: token, lane, fence, outcome ('' for none), channel, message, its life in ms.
# Without an outcome the leader gives up without an answer: the journal stays for its successor.
FINISH = """
local token, lane, fence, outcome, channel, message, outcome_life = unpack(ARGV)
if redis.call('HGET', KEYS[1], lane .. ':token') ~= token then
  return 0
end
redis.call('HDEL', KEYS[1], lane .. ':token', lane .. ':fence', lane .. ':ends', lane .. ':owner',
  lane .. ':epoch')
if outcome ~= '' then
  redis.call('HSET', KEYS[1], lane .. ':done', fence, lane .. ':outcome', outcome)
  redis.call('DEL', KEYS[2])
end
if redis.call('PTTL', KEYS[1]) < tonumber(outcome_life) then
  redis.call('PEXPIRE', KEYS[1], outcome_life)
end
redis.call('PUBLISH', channel, message)
return 1
"""

# KEYS: fences of the entities. ARGV: how long they are kept, modes. Returns a floor that covers all of them.
RAISE_FLOORS = (
    _NOW
    + """
local floor = now
for _, fences in ipairs(KEYS) do
  floor = math.max(floor, tonumber(redis.call('HGET', fences, 'last') or '0'))
end
for _, fences in ipairs(KEYS) do
  redis.call('HSET', fences, 'last', text(floor))
  for place = 2, #ARGV do
    redis.call('HSET', fences, 'floor:' .. ARGV[place], text(floor))
  end
  redis.call('PEXPIRE', fences, ARGV[1])
end
return text(floor)
"""
)

# Seconds of the clock, so that an epoch never comes back after the store lost its data.
BUMP_EPOCH = (
    _NOW
    + """
local epoch = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, math.floor(now / 1000000))
redis.call('SET', KEYS[1], text(epoch))
return text(epoch)
"""
)


@dataclass(frozen=True, slots=True)
class Flight:
    """One key with one content fingerprint, in one lane."""

    key: SummaryKey
    fingerprint: str
    lane: Lane

    @property
    def name(self) -> str:
        return f"{keys.FLIGHT_PREFIX}:{self.key.entity}:{self.key.member}:{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Lead:
    """This execution computes. `journal` is where its paid answers are kept; `journaled`: there are some."""

    flight: Flight
    token: str
    fence: int
    epoch: int
    journal: str
    journaled: bool


@dataclass(frozen=True, slots=True)
class Follow:
    """Another execution computes; its lease runs for `left_s` unless it is renewed."""

    lane: Lane
    fence: int
    owner: str
    left_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The flight that was waited for has ended with this outcome."""

    outcome: bytes


class SingleFlight:
    """Leases in the coordination store. Methods raise `StoreUnavailable` when it cannot be used."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate, lease_s: float) -> None:
        self._gate = gate
        self._lease_ms = int(lease_s * 1000)
        self._renew_every_s = lease_s / 3
        self._acquire = Script(client, ACQUIRE)
        self._renew = Script(client, RENEW)
        self._may_commit = Script(client, MAY_COMMIT)
        self._finish = Script(client, FINISH)
        self._raise_floors = Script(client, RAISE_FLOORS)
        self._bump_epoch = Script(client, BUMP_EPOCH)
        self.notices = Notices(client)

    async def acquire(
        self,
        flight: Flight,
        *,
        token: str,
        owner: str,
        least_epoch: int = 0,
        waited: Follow | None = None,
    ) -> Lead | Follow | Ended:
        """Lead, or learn whom to follow, or get the outcome of the flight that was waited for.

        Safe to repeat with the same token: a caller whose reply was lost leads the same lease.
        """
        arguments: tuple[Argument, ...] = (
            *(token, owner, self._lease_ms, flight.lane, flight.key.mode, least_epoch),
            *(("", "") if waited is None else (waited.lane, waited.fence)),
            *(OUTCOME_LIFE_MS, FENCE_LIFE_MS),
            *_journal_parts(flight, owner=owner),
        )
        names = (flight.name, _fences(flight.key.entity), _epoch(flight.key.project_id))
        reply = await self._gate.run(lambda: self._acquire(*arguments, keys=names))
        match reply:
            case [b"lead", fence, epoch, floor, journaled]:
                begin, end = _journal_parts(flight, owner=owner)
                journal = f"{begin}{int(epoch)}:{int(floor)}{end}"
                return Lead(flight, token, int(fence), int(epoch), journal, bool(journaled))
            case [b"follow", lane, fence, job, left_ms]:
                followed: Lane = "forced" if lane == b"forced" else "plain"
                return Follow(followed, int(fence), job.decode(), int(left_ms) / 1000)
            case [b"done", outcome]:
                return Ended(outcome)
        raise StoreUnavailable("unexpected reply")

    async def renew(self, lead: Lead) -> bool:
        """Whether the lease is still ours; it now runs for its full life again."""
        arguments = (lead.token, self._lease_ms, lead.flight.lane, OUTCOME_LIFE_MS)
        return bool(await self._gate.run(lambda: self._renew(*arguments, keys=(lead.flight.name,))))

    async def may_commit(self, lead: Lead) -> bool:
        """Whether neither the entity nor the project was invalidated since the lease was acquired."""
        key = lead.flight.key
        names = (_fences(key.entity), _epoch(key.project_id))
        arguments = (lead.fence, lead.epoch, key.mode, FENCE_LIFE_MS)
        return bool(await self._gate.run(lambda: self._may_commit(*arguments, keys=names)))

    async def finish(self, lead: Lead, outcome: bytes) -> bool:
        """Hand the outcome to those who wait, end the lease, drop the journal: if the lease is still ours."""
        return await self._end(lead, outcome)

    async def release(self, lead: Lead) -> bool:
        """Give up without an outcome: one of those who wait takes over at once, with the journal."""
        return await self._end(lead, b"")

    async def _end(self, lead: Lead, outcome: bytes) -> bool:
        names = (lead.flight.name, lead.journal)
        message = lead.flight.name
        arguments = (lead.token, lead.flight.lane, lead.fence, outcome, keys.FLIGHT_CHANNEL, message)
        ended = await self._gate.run(lambda: self._finish(*arguments, OUTCOME_LIFE_MS, keys=names))
        return bool(ended)

    async def raise_floors(self, entities: Sequence[str], *, modes: Sequence[str]) -> int:
        """Refuse the results of everything in flight for these entities; returns the floor."""
        names = [_fences(entity) for entity in entities]
        return int(
            await self._gate.run(lambda: self._raise_floors(FENCE_LIFE_MS, *modes, keys=names), always=True)
        )

    async def bump_epoch(self, project_id: int) -> int:
        """Refuse the results of everything in flight for the project; returns its new epoch."""
        names = (_epoch(project_id),)
        return int(await self._gate.run(lambda: self._bump_epoch(keys=names), always=True))

    @contextlib.asynccontextmanager
    async def renewed(self, lead: Lead) -> AsyncIterator[None]:
        """Keep the lease while the body runs. A lease that is lost is not fought for: commit will tell."""
        tasks: set[asyncio.Task[None]] = set()
        # Most bodies end before the first renewal is due, so the task begins with it.
        timer = asyncio.get_running_loop().call_later(
            self._renew_every_s, lambda: tasks.add(asyncio.create_task(self._keep(lead)))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()
                await asyncio.wait({task})

    async def _keep(self, lead: Lead) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                if not await self.renew(lead):
                    return
            await asyncio.sleep(self._renew_every_s)

    async def aclose(self) -> None:
        await self.notices.aclose()


def _fences(entity: str) -> str:
    return f"{keys.FENCE_PREFIX}:{entity}"


def _epoch(project_id: int) -> str:
    return f"{keys.FLIGHT_EPOCH_PREFIX}:{project_id}"


def _journal_parts(flight: Flight, *, owner: str) -> tuple[str, str]:
    """What stands before and after epoch and floor in the name of the flight's journal.

    Those two are in it, so answers paid for before an invalidation are not found after it. A forced flight
    has a journal for each job: a refresh is a new paid call, unless its job is redelivered.
    """
    name = flight.name.removeprefix(f"{keys.FLIGHT_PREFIX}:")
    job = f":{owner}" if flight.lane == "forced" else ""
    return f"{keys.JOURNAL_PREFIX}:{name}:", job


class Notices:
    """One subscription for all who wait in this event loop; it lives while somebody waits.

    Notices only shorten the wait: who waits also polls once a second, so a lost one costs no more than that.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._subscribed = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def expected(self, name: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the flight of this name ends; subscribed before the body runs."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(event)
        try:
            await self._listening()
            yield event
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(name) is waiting:
                del self._waiting[name]

    async def _listening(self) -> None:
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), POLL_S)

    async def _listen(self) -> None:
        pubsub: Any = self._client.pubsub()  # partly without annotations
        try:
            await pubsub.subscribe(keys.FLIGHT_CHANNEL)
            while self._waiting:
                message = await pubsub.get_message(timeout=POLL_S)
                self._take(message or {})
        except STORE_FAULTS:
            pass  # those who wait go on polling, and the next one to come subscribes again
        finally:
            self._subscribed.clear()
            self._listener = None
            await pubsub.aclose()

    def _take(self, message: Mapping[str, object]) -> None:
        if message.get("type") == "subscribe":
            self._subscribed.set()
        data = message.get("data")
        if isinstance(data, bytes):
            for event in self._waiting.get(data.decode(), ()):
                event.set()

    async def aclose(self) -> None:
        if self._listener is not None:
            listener = self._listener
            listener.cancel()
            await asyncio.wait({listener})


class LocalFlights(Generic[T]):
    """Single flight within the process, for when the coordination store cannot be used."""

    def __init__(self) -> None:
        self._running: dict[object, asyncio.Future[T]] = {}

    def running(self, name: object) -> bool:
        return name in self._running

    async def run(self, name: object, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result, and whether it was computed here. Errors of the leader reach all who wait.

        A leader that is canceled has no result: one of those who wait computes instead.
        """
        while (running := self._running.get(name)) is not None:
            await asyncio.wait({running})
            if not running.cancelled():
                return running.result(), False
        return await self.lead(name, compute), True

    async def lead(self, name: object, compute: Callable[[], Awaitable[T]]) -> T:
        """Compute, and let those who `run` the same meanwhile have the result."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        mine = self._running.setdefault(name, future) is future
        try:
            result = await compute()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting; asyncio would complain
            raise
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(result)
            return result
        finally:
            if mine:
                del self._running[name]
