"""Summaries in the cache store: one hash for each entry, found through an index set for each entity.

The scripts here run in the cache store only; leases and the authoritative epochs and floors live in the
coordination store (`single_flight.py`), which may be another server. An entry counts only while it is in its
entity's index and the project's epoch is known, so a store that evicts keys can lose entries but can never
bring back invalidated ones. Key names are put together inside the scripts: one server, not a cluster.

Fields of an entry: `fence created expires life cfp budget forced` in plain text, `body` as `entries.encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import redis.asyncio

from cache import entries, keys
from cache.connection import Argument, Script, StoreGate
from cache.entries import Entry
from cache.keys import SummaryKey
from cache.outcomes import decode_failure, encode_failure
from jobs.errors import JobFailure
from jobs.json_text import dump_json

STALE_S = 86_400
MAX_LIFE_S = 30 * 86_400
FLOOR_LIFE_MS = 86_400_000
NEGATIVE_LIFE_S = {"llm_refused": 300, "llm_rejected": 300, "llm_bad_response": 30}

WriteResult = Literal["stored", "refused", "too_large"]

_NAMES = f"""
local function entry_key(epoch, entity, member)
  return '{keys.ENTRY_PREFIX}:' .. epoch .. ':' .. entity .. ':' .. member
end
local function negative_key(epoch, entity, member)
  return '{keys.NEGATIVE_PREFIX}:' .. epoch .. ':' .. entity .. ':' .. member
end
local function index_key(epoch, entity)
  return '{keys.INDEX_PREFIX}:' .. epoch .. ':' .. entity
end
local function floor_key(entity)
  return '{keys.FLOOR_PREFIX}:' .. entity
end
-- The project's epoch, raised to `least` when the caller knows a newer one; false when nobody knows it.
local function epoch_of(project, least)
  local name = '{keys.EPOCH_PREFIX}:' .. project
  local stored = redis.call('GET', name)
  if least ~= '' and (not stored or tonumber(stored) < tonumber(least)) then
    redis.call('SET', name, least)
    return least
  end
  return stored
end
"""

# Extends a life that is in its last fifth, but never past 30 days from the beginning.
_SLIDE = f"""
local function slide(name, index, expires, now)
  local life, created = unpack(redis.call('HMGET', name, 'life', 'created'))
  if not life or expires - now >= tonumber(life) / 5 then
    return expires
  end
  local longer = math.min(now + tonumber(life), tonumber(created) + {MAX_LIFE_S})
  if longer <= expires then
    return expires
  end
  redis.call('HSET', name, 'expires', string.format('%.3f', longer))
  local left = math.ceil((longer + {STALE_S} - now) * 1000)
  redis.call('PEXPIRE', name, left)
  if redis.call('PTTL', index) < left then
    redis.call('PEXPIRE', index, left)
  end
  return longer
end
"""

# Several entries of one project. Answers the epoch, and for each what is remembered and what is stored.
LOOK_UP = (
    _NAMES
    + _SLIDE
    + """
local project, least, now = unpack(ARGV, 1, 3)
local epoch = epoch_of(project, least)
if not epoch then
  return {''}
end
now = tonumber(now)
local function look_up(entity, member, print, cfp, budget)
  local index = index_key(epoch, entity)
  local negative = false
  if redis.call('SISMEMBER', index, 'n:' .. member .. ':' .. print) == 1 then
    negative = redis.call('GET', negative_key(epoch, entity, member .. ':' .. print))
  end
  local name = entry_key(epoch, entity, member)
  local stored_cfp, expires, stored_budget, body
  if redis.call('SISMEMBER', index, 'e:' .. member) == 1 then
    stored_cfp, expires, stored_budget, body =
      unpack(redis.call('HMGET', name, 'cfp', 'expires', 'budget', 'body'))
  end
  if not body then
    return {negative}
  end
  local fits = stored_budget == '' or tonumber(stored_budget) >= tonumber(budget)
  if stored_cfp == cfp and fits and tonumber(expires) > now then
    expires = string.format('%.3f', slide(name, index, tonumber(expires), now))
  end
  return {negative, stored_cfp, expires, stored_budget, body}
end
local found = {epoch}
for place = 4, #ARGV, 5 do
  found[#found + 1] = look_up(unpack(ARGV, place, place + 4))
end
return found
"""
)

WRITE = (
    _NAMES
    + """
local project, entity, member, print, epoch, mode, fence, left = unpack(ARGV, 1, 8)
if epoch_of(project, epoch) ~= epoch then
  return 'refused'
end
local floor = redis.call('HGET', floor_key(entity), mode)
if floor and tonumber(fence) <= tonumber(floor) then
  return 'refused'
end
local name, index = entry_key(epoch, entity, member), index_key(epoch, entity)
local stored = redis.call('SISMEMBER', index, 'e:' .. member) == 1 and redis.call('HGET', name, 'fence')
if stored and tonumber(stored) > tonumber(fence) then
  return 'refused'
end
redis.call('DEL', name, negative_key(epoch, entity, member .. ':' .. print))
redis.call('HSET', name, 'fence', fence, unpack(ARGV, 9))
redis.call('PEXPIRE', name, left)
redis.call('SREM', index, 'n:' .. member .. ':' .. print)
redis.call('SADD', index, 'e:' .. member)
if redis.call('PTTL', index) < tonumber(left) then
  redis.call('PEXPIRE', index, left)
end
return 'stored'
"""
)

REMEMBER = (
    _NAMES
    + """
local project, entity, member, print, epoch, mode, fence, life, failure = unpack(ARGV)
if epoch_of(project, epoch) ~= epoch then
  return 'refused'
end
local floor = redis.call('HGET', floor_key(entity), mode)
if floor and tonumber(fence) <= tonumber(floor) then
  return 'refused'
end
redis.call('SET', negative_key(epoch, entity, member .. ':' .. print), failure, 'PX', life)
local index = index_key(epoch, entity)
redis.call('SADD', index, 'n:' .. member .. ':' .. print)
if redis.call('PTTL', index) < tonumber(life) then
  redis.call('PEXPIRE', index, life)
end
return 'stored'
"""
)

# The same text under other bytes of `data`: the next lookup must not render again.
ADOPT = (
    _NAMES
    + _SLIDE
    + """
local entity, member, epoch, fence, cfp, budget, now = unpack(ARGV)
local name = entry_key(epoch, entity, member)
local stored_fence, expires, stored_budget = unpack(redis.call('HMGET', name, 'fence', 'expires', 'budget'))
if stored_fence ~= fence then
  return 0
end
redis.call('HSET', name, 'cfp', cfp)
if stored_budget ~= '' and tonumber(stored_budget) < tonumber(budget) then
  redis.call('HSET', name, 'budget', budget)
end
slide(name, index_key(epoch, entity), tonumber(expires), tonumber(now))
return 1
"""
)

DISCARD = (
    _NAMES
    + """
local project, entity, member = unpack(ARGV)
local epoch = epoch_of(project, '')
if not epoch then
  return 0
end
redis.call('SREM', index_key(epoch, entity), 'e:' .. member)
return redis.call('DEL', entry_key(epoch, entity, member))
"""
)

LIST = (
    _NAMES
    + """
local project, member, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local epoch = epoch_of(project, '')
local bodies = {}
for place = 4, #ARGV do
  local entity, found = ARGV[place], false
  if epoch and redis.call('SISMEMBER', index_key(epoch, entity), 'e:' .. member) == 1 then
    local expires, body = unpack(redis.call('HMGET', entry_key(epoch, entity, member), 'expires', 'body'))
    if body and tonumber(expires) > now then
      found = body
    end
  end
  bodies[place - 3] = found
end
return bodies
"""
)

INVALIDATE = (
    _NAMES
    + f"""
local project, floor, modes = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local epoch = epoch_of(project, '')
local deleted = 0
for place = 4, #ARGV do
  local entity = ARGV[place]
  for mode, _ in pairs(modes) do
    redis.call('HSET', floor_key(entity), mode, floor)
  end
  redis.call('PEXPIRE', floor_key(entity), {FLOOR_LIFE_MS})
  local members = epoch and redis.call('SMEMBERS', index_key(epoch, entity)) or {{}}
  for _, member in ipairs(members) do
    local kind, mode, rest = string.match(member, '^(%a):([^:]+):(.*)$')
    if kind and modes[mode] then
      redis.call('SREM', index_key(epoch, entity), member)
      if kind == 'e' then
        deleted = deleted + redis.call('DEL', entry_key(epoch, entity, mode .. ':' .. rest))
      else
        redis.call('DEL', negative_key(epoch, entity, mode .. ':' .. rest))
      end
    end
  end
end
return deleted
"""
)

RAISE_EPOCH = (
    _NAMES
    + """
return epoch_of(ARGV[1], ARGV[2])
"""
)


@dataclass(frozen=True, slots=True)
class Sought:
    """What one request looks for."""

    key: SummaryKey
    content_fp: str
    budget_tokens: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one lookup saw. `epoch` is None when the store does not know the project's."""

    epoch: int | None = None
    entry: Entry | None = None
    negative: JobFailure | None = None


class SummaryStore:
    """All operations on the cache store. Each raises `StoreUnavailable` when the store cannot be used."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate) -> None:
        self._gate = gate
        self._look_up = Script(client, LOOK_UP)
        self._write = Script(client, WRITE)
        self._remember = Script(client, REMEMBER)
        self._adopt = Script(client, ADOPT)
        self._discard = Script(client, DISCARD)
        self._list = Script(client, LIST)
        self._invalidate = Script(client, INVALIDATE)
        self._raise_epoch = Script(client, RAISE_EPOCH)

    async def look_up(self, sought: Sought, *, now: float, least_epoch: int | None = None) -> Found:
        """The entry and the remembered failure under the project's epoch.

        An unexpired entry that matches has its life extended when little of it is left.
        """
        [found] = await self.look_up_all([sought], now=now, least_epoch=least_epoch)
        return found

    async def look_up_all(
        self, sought: Sequence[Sought], *, now: float, least_epoch: int | None = None
    ) -> list[Found]:
        """The same for requests of one project, in order; one round trip."""
        least = "" if least_epoch is None else least_epoch
        asked: list[Argument] = [sought[0].key.project_id, least, now]
        for one in sought:
            print_ = keys.fingerprint(one.content_fp, one.key.variant)
            asked += (one.key.entity, one.key.member, print_, one.content_fp, one.budget_tokens)
        epoch, *replies = await self._gate.run(lambda: self._look_up(*asked))
        if not epoch:
            return [Found()] * len(sought)
        return [
            await self._found(one.key, int(epoch), *reply) for one, reply in zip(sought, replies, strict=True)
        ]

    async def _found(self, key: SummaryKey, epoch: int, negative: bytes | None, *fields: bytes) -> Found:
        entry = await self._decoded(key, fields) if fields else None
        return Found(epoch, entry, None if negative is None else decode_failure(negative))

    async def _decoded(self, key: SummaryKey, fields: Sequence[bytes]) -> Entry | None:
        content_fp, expires, budget, body = fields
        try:
            entry = entries.decode(body)
        except entries.Undecodable:
            await self._gate.run(lambda: self._discard(key.project_id, key.entity, key.member))
            return None
        return replace(
            entry,
            content_fp=content_fp.decode(),
            expires_at=float(expires),
            budget_tokens=int(budget) if budget else None,
        )

    async def write(
        self, key: SummaryKey, entry: Entry, *, epoch: int, body: bytes | None = None
    ) -> WriteResult:
        """Store unless the project's epoch, the entity's floor or a newer entry forbids it.

        `body` is the encoded entry, when the caller has it.
        """
        body = entries.encode(entry) if body is None else body
        if len(body) > entries.MAX_STORED_BYTES:
            return "too_large"
        print_ = keys.fingerprint(entry.content_fp, key.variant)
        left_ms = int((entry.expires_at - entry.created_at + STALE_S) * 1000)
        place = (key.project_id, key.entity, key.member, print_, epoch, key.mode, entry.fence, left_ms)
        fields: dict[str, Argument] = {
            "created": entry.created_at,
            "expires": entry.expires_at,
            "life": entry.expires_at - entry.created_at,
            "cfp": entry.content_fp,
            "budget": "" if entry.budget_tokens is None else entry.budget_tokens,
            "forced": int(entry.forced),
            "body": body,
        }
        flat = [part for pair in fields.items() for part in pair]
        reply = await self._gate.run(lambda: self._write(*place, *flat))
        return "stored" if reply == b"stored" else "refused"

    async def remember(
        self, key: SummaryKey, failure: JobFailure, *, content_fp: str, epoch: int, fence: int
    ) -> None:
        """Keep a failure that the same request would meet again; other failures are not kept."""
        life_s = NEGATIVE_LIFE_S.get(str(failure.body.get("code")))
        if life_s is None:
            return
        print_ = keys.fingerprint(content_fp, key.variant)
        place = (key.project_id, key.entity, key.member, print_, epoch, key.mode, fence)
        await self._gate.run(lambda: self._remember(*place, life_s * 1000, encode_failure(failure)))

    async def adopt(
        self, key: SummaryKey, entry: Entry, *, epoch: int, content_fp: str, budget_tokens: int, now: float
    ) -> None:
        """Let the entry answer for this content too: it renders to the same text."""
        arguments = (key.entity, key.member, epoch, entry.fence, content_fp, budget_tokens, now)
        await self._gate.run(lambda: self._adopt(*arguments))

    async def listed(
        self, project_id: int, entities: Sequence[str], *, member: str, now: float
    ) -> list[Entry | None]:
        """The unexpired entries of many entities, in order; one round trip."""
        reply = await self._gate.run(lambda: self._list(project_id, member, now, *entities))
        return [_readable(body) for body in reply]

    async def invalidate(
        self, project_id: int, entities: Sequence[str], *, modes: Sequence[str], floor: int
    ) -> int:
        """Delete all variants of the entities, and refuse writes with a fence up to `floor`."""
        chosen = dump_json(dict.fromkeys(modes, True))
        return int(
            await self._gate.run(lambda: self._invalidate(project_id, floor, chosen, *entities), always=True)
        )

    async def raise_epoch(self, project_id: int, epoch: int) -> None:
        """Make all entries of earlier epochs unreachable."""
        await self._gate.run(lambda: self._raise_epoch(project_id, epoch), always=True)


def _readable(body: bytes | None) -> Entry | None:
    try:
        return None if body is None else entries.decode(body)
    except entries.Undecodable:
        return None
