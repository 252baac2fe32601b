"""Who works on which chunk of which bulk job: each step atomic, in Redis.

Nothing here is the only copy: the rows of a job say which of its chunks have unfinished items. Key names are
put together inside the scripts, as in `jobs/scripts.py`: one server, not a cluster.

    tg:bulk:turns               list of projects with waiting chunks; who is first is next
    tg:bulk:turns:{project}     list of its jobs, likewise
    tg:bulk:{job}               hash: project, most (chunks at work at once, 0: any), out (chunks at work),
                                later (not before this time), calls (requests to the provider),
                                keep (1: chunks may be taken although the job was asked to stop)
    tg:bulk:{job}:waiting       list of chunks
    tg:bulk:{job}:holders       hash: chunk -> token of the execution that has it
    tg:bulk:{job}:hand          hash: chunk -> items in hand
    tg:bulk:{job}:losses        hash: chunk -> how often its worker was lost since it made progress
    tg:bulk:out                 sorted set: "job chunk" -> when its lease runs out
"""

from __future__ import annotations

from typing import Final

from jobs.event_scripts import EVENTS, FINAL

OUT_KEY: Final = "tg:bulk:out"
TURNS_KEY: Final = "tg:bulk:turns"


def bulk_key(job_id: str, part: str = "") -> str:
    return f"tg:bulk:{job_id}:{part}" if part else f"tg:bulk:{job_id}"


_TURNS: Final = """
local turns = 'tg:bulk:turns'
local function line_up(job)
  local project = redis.call('HGET', 'tg:bulk:' .. job, 'project')
  if not project then return end
  local own = turns .. ':' .. project
  if not redis.call('LPOS', own, job) then redis.call('RPUSH', own, job) end
  if not redis.call('LPOS', turns, project) then redis.call('RPUSH', turns, project) end
end
local function let_go(job, chunk)
  redis.call('HINCRBY', 'tg:bulk:' .. job, 'out', -1)
  redis.call('HDEL', 'tg:bulk:' .. job .. ':hand', chunk)
  redis.call('HDEL', 'tg:bulk:' .. job .. ':holders', chunk)
end
"""

# A queued job becomes a running one. Answers the state afterwards, false when the store knows no such job.
BEGIN: Final = (
    FINAL
    + EVENTS
    + """
local record, queued, journal, overtaken = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, id = ARGV[1], ARGV[2]
local state = redis.call('HGET', record, 'state')
local sent = redis.call('ZSCORE', queued, id)
if sent then
  redis.call('ZREM', queued, id)
  local youngest = redis.call('GET', overtaken)
  if not youngest or tonumber(sent) > tonumber(youngest) then redis.call('SET', overtaken, sent) end
end
if state ~= '"queued"' then return state end
redis.call('HSET', record, 'state', '"running"', 'started_at', now)
if recorded(record) then emit_state(record) end
redis.call('XADD', journal, '*', 'id', id)
return '"running"'
"""
)

# Make chunks of a job available, unless some of them are waiting or at work: then all of them are.
OFFER: Final = (
    _TURNS
    + """
local job, project, most, calls, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local home = 'tg:bulk:' .. job
local out = tonumber(redis.call('HGET', home, 'out') or 0)
if out > 0 or redis.call('LLEN', home .. ':waiting') > 0 then return 0 end
redis.call('HSET', home, 'project', project, 'most', most)
redis.call('HSETNX', home, 'calls', calls)
redis.call('DEL', home .. ':holders', home .. ':hand')
for place = 6, #ARGV do redis.call('RPUSH', home .. ':waiting', ARGV[place]) end
for _, part in ipairs({'', ':waiting'}) do redis.call('EXPIRE', home .. part, life) end
line_up(job)
return #ARGV - 5
"""
)

# The next chunk: projects in turn, in each its jobs in turn. Nothing when no job may have one more at work.
TAKE: Final = (
    _TURNS
    + """
local now, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
for _ = 1, redis.call('LLEN', turns) do
  local project = redis.call('LMOVE', turns, turns, 'LEFT', 'RIGHT')
  local own = turns .. ':' .. project
  for _ = 1, redis.call('LLEN', own) do
    local job = redis.call('LMOVE', own, own, 'LEFT', 'RIGHT')
    local home = 'tg:bulk:' .. job
    if redis.call('LLEN', home .. ':waiting') == 0 then
      redis.call('LREM', own, 0, job)
    else
      local state, stop = unpack(redis.call('HMGET', 'tg:job:' .. job, 'state', 'cancel_requested'))
      local most, out, later, keep = unpack(redis.call('HMGET', home, 'most', 'out', 'later', 'keep'))
      most, out, later = tonumber(most or 0), tonumber(out or 0), tonumber(later or 0)
      local free = most == 0 or out < most
      if state == '"running"' and (stop ~= 'true' or keep) and free and later <= now then
        local chunk = redis.call('LPOP', home .. ':waiting')
        redis.call('HINCRBY', home, 'out', 1)
        redis.call('HSET', home .. ':holders', chunk, token)
        redis.call('ZADD', 'tg:bulk:out', now + lease, job .. ' ' .. chunk)
        return {job, chunk}
      end
    end
  end
  if redis.call('LLEN', own) == 0 then redis.call('LREM', turns, 0, project) end
end
return false
"""
)

# A chunk is no longer at work. `back`: it has unfinished items and waits again, not before `later`. Answers
# how many chunks wait now; -1 when the chunk was taken from this execution before.
RETURN: Final = (
    _TURNS
    + """
local job, chunk, token, back, later = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local home = 'tg:bulk:' .. job
if redis.call('HGET', home .. ':holders', chunk) ~= token then return -1 end
redis.call('ZREM', 'tg:bulk:out', job .. ' ' .. chunk)
let_go(job, chunk)
if back == '1' then
  redis.call('LPUSH', home .. ':waiting', chunk)
  redis.call('HSET', home, 'later', later)
  line_up(job)
else
  redis.call('HDEL', home .. ':losses', chunk)
end
return redis.call('LLEN', home .. ':waiting')
"""
)

# Take chunks from workers that are lost; they are the next ones of their jobs. Answers job, chunk, losses.
LOST: Final = (
    _TURNS
    + """
local found = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', 'tg:bulk:out', '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
  local job, chunk = string.match(member, '^(%S+) (%d+)$')
  local home = 'tg:bulk:' .. job
  redis.call('ZREM', 'tg:bulk:out', member)
  if redis.call('EXISTS', home) == 1 then
    let_go(job, chunk)
    local losses = redis.call('HINCRBY', home .. ':losses', chunk, 1)
    redis.call('LPUSH', home .. ':waiting', chunk)
    line_up(job)
    found[#found + 1] = {job, chunk, losses}
  end
end
return found
"""
)

# Items of a chunk were finished, or taken in hand. The counters of the youngest step win. Answers whether the
# job was asked to stop, and how many of its items are in hand.
PROGRESS: Final = (
    FINAL
    + """
local record, job, chunk, token = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local left, revision, counters = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local home = 'tg:bulk:' .. job
if redis.call('HGET', home .. ':holders', chunk) == token then
  redis.call('HSET', home .. ':hand', chunk, left)
  if revision > 0 then redis.call('HDEL', home .. ':losses', chunk) end
end
local hand = 0
for _, items in ipairs(redis.call('HVALS', home .. ':hand')) do hand = hand + tonumber(items) end
local state, known, stop = unpack(redis.call('HMGET', record, 'state', 'revision', 'cancel_requested'))
if state and not final[state] then
  if revision > tonumber(known or 0) then
    redis.call('HSET', record, 'counters', counters, 'revision', revision)
  end
  redis.call('HSET', record, 'in_hand', hand)
end
return {stop == 'true' and 1 or 0, hand}
"""
)

# One more request to the provider, unless the cap is reached. 1: go ahead; 0: not any more.
COUNT_CALL: Final = """
local calls = tonumber(redis.call('HGET', KEYS[1], 'calls') or 0)
if calls >= tonumber(ARGV[1]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'calls', 1)
return 1
"""

FORGET: Final = """
local job = ARGV[1]
local home = 'tg:bulk:' .. job
local project = redis.call('HGET', home, 'project')
if project then redis.call('LREM', 'tg:bulk:turns:' .. project, 0, job) end
for _, chunk in ipairs(redis.call('HKEYS', home .. ':holders')) do
  redis.call('ZREM', 'tg:bulk:out', job .. ' ' .. chunk)
end
redis.call('DEL', home, home .. ':waiting', home .. ':holders', home .. ':hand', home .. ':losses')
return 1
"""
