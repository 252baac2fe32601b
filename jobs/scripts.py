"""Job state changes in Redis, each one atomic step. Lua, because a state is read and changed together.

Record fields are JSON texts, so a state reads as '"queued"'. Every key of one job begins with `tg:job:{id}`.
"""

from __future__ import annotations

from typing import Final

from jobs.event_scripts import EVENTS, FINAL

RUNNING_KEY: Final = "tg:jobs:running"  # sorted set: job id -> when its lease runs out
JOURNAL_KEY: Final = "tg:jobs:journal"  # stream: ids of jobs whose row in the database is to be written
ENDED_CHANNEL: Final = "tg:jobs:ended"  # messages: ids of jobs that reached a final state


def record_key(job_id: str) -> str:
    return f"tg:job:{job_id}"


def payload_key(job_id: str) -> str:
    return f"tg:job:{job_id}:in"


def result_key(job_id: str) -> str:
    return f"tg:job:{job_id}:out"


def queued_key(queue: str) -> str:
    """Sorted set: job id -> when its message was last sent."""
    return f"tg:jobs:queued:{queue}"


def overtaken_key(queue: str) -> str:
    """When the youngest of the started jobs had been sent: older ones should have come before it."""
    return f"tg:jobs:overtaken:{queue}"


def workers_key(queue: str) -> str:
    """Sorted set: worker id -> when it counts as dead."""
    return f"tg:workers:{queue}"


def flight_key(digest: str) -> str:
    """The job that is at work on one exact request."""
    return f"tg:flight:{digest}"


# A refused submit leaves nothing behind. One that is repeated, its reply being lost, does not join itself.
# With the broker in the same Redis the message goes along; else `broker` is empty.
SUBMIT: Final = (
    FINAL
    + EVENTS
    + """
local record, payload, queued, workers, flight = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local broker, message = KEYS[6], ARGV[6]
local now, max_queued, ttl, id, body = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local beat = redis.call('ZREVRANGE', workers, 0, 0, 'WITHSCORES')
if not beat[2] or tonumber(beat[2]) < now then return {'no_worker'} end
if redis.call('ZCARD', queued) >= max_queued then return {'full'} end
if flight ~= '' then
  local other = redis.call('GET', flight)
  if other and other ~= id then
    local state = redis.call('HGET', 'tg:job:' .. other, 'state')
    if state and not final[state] then return {'joined', other} end
  end
  redis.call('SET', flight, id, 'EX', ttl)
end
redis.call('HSET', record, unpack(ARGV, 7))
redis.call('EXPIRE', record, ttl)
redis.call('SET', payload, body, 'EX', ttl)
redis.call('ZADD', queued, now, id)
if recorded(record) then emit_state(record) end
if broker ~= '' then redis.call('LPUSH', broker, message) end
return {'queued', id}
"""
)

# Undo a submit whose message could not be sent; a job that started all the same is left alone.
ABANDON: Final = """
if redis.call('HGET', KEYS[1], 'state') ~= '"queued"' then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
if KEYS[4] ~= '' and redis.call('GET', KEYS[4]) == ARGV[1] then redis.call('DEL', KEYS[4]) end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""

# The record and the payload, when this worker may run the job; else only the word why not. A start that is
# repeated with its token, because its reply was lost, is the same start.
START: Final = (
    FINAL
    + EVENTS
    + """
local record, payload, queued, running = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal, overtaken = KEYS[5], KEYS[6]
local now, lease, id, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local state, attempt, most, runner = unpack(
  redis.call('HMGET', record, 'state', 'attempt', 'max_attempts', 'runner'))
if not state then return {'missing'} end
local sent = redis.call('ZSCORE', queued, id)
if sent then
  redis.call('ZREM', queued, id)
  local youngest = redis.call('GET', overtaken)
  if not youngest or tonumber(sent) > tonumber(youngest) then redis.call('SET', overtaken, sent) end
end
if final[state] then return {'final'} end
if state == '"running"' and runner ~= token then
  local until_ = redis.call('ZSCORE', running, id)
  if until_ and tonumber(until_) >= now then return {'busy'} end
  if tonumber(attempt) >= tonumber(most) then return {'busy'} end
  redis.call('HINCRBY', record, 'attempt', 1)
end
redis.call('HSET', record, 'state', '"running"', 'started_at', ARGV[1], 'runner', token)
redis.call('ZADD', running, now + lease, id)
if runner ~= token and recorded(record) then emit_state(record) end
if redis.call('HGET', record, 'promised') == 'true' then redis.call('XADD', journal, '*', 'id', id) end
return {'started', redis.call('HGETALL', record), redis.call('GET', payload)}
"""
)

# First final write wins. The whole record travels along, so that a store that lost it gets it back; what was
# learned of the job since the writer read it stays. `journal` is empty for a job that gets no row.
FINISH: Final = (
    FINAL
    + EVENTS
    + """
local record, payload, result, queued, running, journal, flight =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local id, ttl, body = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HGET', record, 'state')
redis.call('ZREM', running, id)
redis.call('ZREM', queued, id)
if state and final[state] then return 0 end
local attempt, canceled, promised, asynchronous = unpack(
  redis.call('HMGET', record, 'attempt', 'cancel_requested', 'promised', 'asynchronous'))
redis.call('HSET', record, unpack(ARGV, 5))
redis.call('HDEL', record, 'runner')
if attempt then redis.call('HSET', record, 'attempt', attempt) end
if canceled == 'true' then redis.call('HSET', record, 'cancel_requested', canceled) end
if promised == 'true' then redis.call('HSET', record, 'promised', promised) end
if asynchronous == 'true' then redis.call('HSET', record, 'asynchronous', asynchronous) end
redis.call('EXPIRE', record, ttl)
if body ~= '' then redis.call('SET', result, body, 'EX', ttl) end
if recorded(record) then
  emit_state(record)
  emit(record, 'done', '')
end
redis.call('DEL', payload)
if flight ~= '' and redis.call('GET', flight) == id then redis.call('DEL', flight) end
if journal ~= '' then redis.call('XADD', journal, '*', 'id', id) end
redis.call('PUBLISH', ARGV[4], id)
return 1
"""
)

# Give a lost job back to its queue. Answers the attempt that comes next; 0 when that was the last one, -1
# when the job is not lost after all.
REQUEUE: Final = (
    EVENTS
    + """
local record, queued, running = KEYS[1], KEYS[2], KEYS[3]
local now, id = tonumber(ARGV[1]), ARGV[2]
local until_ = redis.call('ZSCORE', running, id)
if not until_ or tonumber(until_) >= now then return -1 end
if redis.call('HGET', record, 'state') ~= '"running"' then
  redis.call('ZREM', running, id)
  return -1
end
local attempt = tonumber(redis.call('HGET', record, 'attempt'))
if attempt >= tonumber(redis.call('HGET', record, 'max_attempts')) then return 0 end
redis.call('ZREM', running, id)
redis.call('HSET', record, 'state', '"queued"', 'attempt', attempt + 1)
redis.call('ZADD', queued, now, id)
if recorded(record) then emit_state(record) end
if redis.call('HGET', record, 'promised') == 'true' then redis.call('XADD', KEYS[4], '*', 'id', id) end
return attempt + 1
"""
)

# Bring back a promised job from its row, unless the store knows it.
RESTORE: Final = """
local record, payload, queued = KEYS[1], KEYS[2], KEYS[3]
local now, ttl, id, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', record) == 1 then return 0 end
redis.call('HSET', record, unpack(ARGV, 5))
redis.call('EXPIRE', record, ttl)
redis.call('SET', payload, body, 'EX', ttl)
redis.call('ZADD', queued, now, id)
return 1
"""

# Ask a running job to stop. Final and queued jobs are the caller's business.
REQUEST_CANCEL: Final = """
local state = redis.call('HGET', KEYS[1], 'state')
if state == '"running"' then
  redis.call('HSET', KEYS[1], 'cancel_requested', 'true')
  local promised = redis.call('HGET', KEYS[1], 'promised') == 'true'
  if promised then redis.call('XADD', KEYS[2], '*', 'id', ARGV[1]) end
end
return state
"""
