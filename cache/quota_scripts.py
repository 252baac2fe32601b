"""The Lua steps of the limits on calls to a model. `quota_store.py` runs them."""

from __future__ import annotations

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
