"""The log of a job's events in Redis: what writes to it and what reads it, each one atomic step.

A log is kept for promised jobs, and for any other from its first listener on. A job with items has a second
log that holds its rows as well, so that ids rise by one in both. A log lives as long as the job's record.
"""

from __future__ import annotations

from typing import Final

from jobs.states import FINAL_STATES

ITEMIZED_KIND: Final = "summarization.bulk"  # its progress and rows are published by whoever does the work


def events_key(job_id: str, *, items: bool = False) -> str:
    """Stream of what happened to a job, and the channel that says so; `items` is the log with rows in it."""
    return f"tg:job:{job_id}:events:items" if items else f"tg:job:{job_id}:events"


FINAL: Final = "local final = {" + ",".join(f"['\"{state}\"']=true" for state in sorted(FINAL_STATES)) + "}\n"

EVENTS_KEPT: Final = 1000
PROGRESS_EVERY_MS: Final = 250
# What the scripts here and in jobs/scripts.py share. `record` is the key of the job's record.
EVENTS: Final = (
    f"local kept, every_ms, itemized = {EVENTS_KEPT}, {PROGRESS_EVERY_MS}, '\"{ITEMIZED_KIND}\"'\n"
    """
local function append(record, log, event, ...)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local id = last and tonumber(string.match(last[1], '^%d+')) or 0
  for _, data in ipairs({...}) do
    id = id + 1
    redis.call('XADD', log, 'MAXLEN', kept, string.format('%.0f-0', id), 'event', event, 'data', data)
  end
  local left = redis.call('PTTL', record)
  if left > 0 then redis.call('PEXPIRE', log, left) end
  redis.call('PUBLISH', log, id)
end
local function emit(record, event, data)
  if event ~= 'item' then append(record, record .. ':events', event, data) end
  if redis.call('HGET', record, 'kind') == itemized then
    append(record, record .. ':events:items', event, data)
  end
end
local function single_progress(state)
  local function count(...)
    for _, name in ipairs({...}) do if state == '"' .. name .. '"' then return 1 end end
    return 0
  end
  return string.format(
    '{"total":1,"done":%d,"queued":%d,"running":%d,"succeeded":%d,"failed":%d,"canceled":%d}',
    count('succeeded', 'failed', 'canceled', 'expired'), count('queued'), count('running'),
    count('succeeded'), count('failed', 'expired'), count('canceled'))
end
local function emit_state(record)
  local state, attempt, kind = unpack(redis.call('HMGET', record, 'state', 'attempt', 'kind'))
  emit(record, 'state', '{"state":' .. state .. ',"attempt":' .. (attempt or '1') .. '}')
  if kind ~= itemized then
    emit(record, 'progress', single_progress(state))
  else
    local latest, shown = unpack(redis.call('HMGET', record, 'progress_latest', 'progress_shown'))
    if latest and latest ~= shown then
      emit(record, 'progress', latest)
      redis.call('HSET', record, 'progress_shown', latest)
    end
  end
end
local function recorded(record)
  return redis.call('HGET', record, 'promised') == 'true' or redis.call('EXISTS', record .. ':events') == 1
end
"""
)

# Finished items of a running job, with which only the log with rows in it goes on: one step for all of them.
PUBLISH_ITEMS: Final = (
    FINAL
    + EVENTS
    + """
local record = KEYS[1]
local state, kind = unpack(redis.call('HMGET', record, 'state', 'kind'))
if not state or final[state] or kind ~= itemized then return 0 end
append(record, record .. ':events:items', 'item', unpack(ARGV))
return 1
"""
)

# One event of a running job. Progress is held back while the last one is younger than PROGRESS_EVERY_MS; who
# listens reads again a moment later (READ_EVENTS), and the end brings the last one in any case.
PUBLISH_EVENT: Final = (
    FINAL
    + EVENTS
    + """
local record, event, data = KEYS[1], ARGV[1], ARGV[2]
local state = redis.call('HGET', record, 'state')
if not state or final[state] then return 0 end
if event ~= 'progress' then
  emit(record, event, data)
  return 1
end
redis.call('HSET', record, 'progress_latest', data)
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local at = tonumber(redis.call('HGET', record, 'progress_at') or 0)
if now_ms - at < every_ms then
  redis.call('PUBLISH', record .. ':events', 'held')
  redis.call('PUBLISH', record .. ':events:items', 'held')
  return 0
end
emit(record, 'progress', data)
redis.call('HSET', record, 'progress_shown', data, 'progress_at', string.format('%.0f', now_ms))
return 1
"""
)

# The events after `after`, and the record. A log that does not exist yet begins with how things stand, and
# progress that was held back is let go when it is due. `gap`: the log does not reach back to `after`.
READ_EVENTS: Final = (
    FINAL
    + EVENTS
    + """
local record, log, after, most = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]
if redis.call('EXISTS', record) == 0 then return {} end
local state, latest, shown, at = unpack(
  redis.call('HMGET', record, 'state', 'progress_latest', 'progress_shown', 'progress_at'))
if redis.call('EXISTS', log) == 0 then
  emit_state(record)
  if final[state] then emit(record, 'done', '') end
elseif latest and latest ~= shown and not final[state] then
  local now = redis.call('TIME')
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  if now_ms - tonumber(at or 0) >= every_ms then
    emit(record, 'progress', latest)
    redis.call('HSET', record, 'progress_shown', latest, 'progress_at', string.format('%.0f', now_ms))
  end
end
local function number_of(entry) return tonumber(string.match(entry[1], '^%d+')) end
local first = number_of(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1])
local last = number_of(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1])
if after > last then after = 0 end
local entries = redis.call('XRANGE', log, string.format('(%.0f-0', after), '+', 'COUNT', most)
return {redis.call('HGETALL', record), after + 1 < first and 1 or 0, entries}
"""
)
