"""Money for a whole batch: held before it is sent, settled when its results are there.

The same figures as those of single calls (`cache/quota_store.py`). A hold has a name: taking or settling it
twice changes nothing, so an execution that takes over from a dead one may repeat both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis

from cache.money import PREFIX, SPEND_KEPT_S, day_key, job_key, nano

# Holds as many of the amounts as fit, in order, and answers how many those are.
HOLD = """
local held, day, job = unpack(KEYS)
local day_cap, job_cap, kept_s = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local known = redis.call('HGET', held, 'count')
if known then return tonumber(known) end
local spent_day, spent_job = 0, 0
if day_cap > 0 then spent_day = tonumber(redis.call('GET', day) or '0') end
if job_cap >= 0 then spent_job = tonumber(redis.call('GET', job) or '0') end
local sum, count = 0, 0
for place = 4, #ARGV do
  local more = sum + tonumber(ARGV[place])
  if day_cap > 0 and spent_day + more > day_cap then break end
  if job_cap >= 0 and spent_job + more > job_cap then break end
  sum, count = more, count + 1
end
local amount = string.format('%.0f', sum)
redis.call('HSET', held, 'count', count, 'nano', amount, 'day', '', 'job', '')
if day_cap > 0 then
  redis.call('INCRBY', day, amount)
  redis.call('EXPIRE', day, kept_s)
  redis.call('HSET', held, 'day', day)
end
if job_cap >= 0 then
  redis.call('INCRBY', job, amount)
  redis.call('EXPIRE', job, kept_s)
  redis.call('HSET', held, 'job', job)
end
redis.call('EXPIRE', held, kept_s)
return count
"""

# Gives back what was held and not spent. The hold stays, settled, so that nobody takes it again.
SETTLE = """
local held = KEYS[1]
local amount, day, job, settled = unpack(redis.call('HMGET', held, 'nano', 'day', 'job', 'settled'))
if not amount or settled then return 0 end
local over = string.format('%.0f', tonumber(amount) - tonumber(ARGV[1]))
if day ~= '' then redis.call('DECRBY', day, over) end
if job ~= '' then redis.call('DECRBY', job, over) end
redis.call('HSET', held, 'settled', 1)
return 1
"""


class BatchSpend:
    """Redis errors pass through: without the figures nothing is sent."""

    def __init__(self, redis: Redis, *, spend_cap_usd: float, prefix: str = PREFIX) -> None:
        self._hold: Any = redis.register_script(HOLD)
        self._settle: Any = redis.register_script(SETTLE)
        self._cap_usd = spend_cap_usd
        self._prefix = prefix

    def hold(
        self, name: str, *, job_id: str, job_cap_usd: float | None, amounts: Sequence[float | None]
    ) -> int:
        """How many of the amounts, from the first on, are within the caps; these are held now."""
        if self._cap_usd <= 0 and job_cap_usd is None:
            return len(amounts)
        priced = [nano(usd) for usd in amounts if usd is not None]
        if len(priced) < len(amounts):
            return 0  # a cap needs prices
        keys = (self._name(name), day_key(self._prefix), job_key(self._prefix, job_id))
        job_cap = -1 if job_cap_usd is None else int(job_cap_usd * 1e9)
        return int(self._hold(keys=keys, args=[int(self._cap_usd * 1e9), job_cap, SPEND_KEPT_S, *priced]))

    def settle(self, name: str, *, usd: float) -> None:
        self._settle(keys=(self._name(name),), args=[nano(usd)])

    def _name(self, name: str) -> str:
        return f"{self._prefix}:spend:held:{name}"
