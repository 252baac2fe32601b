"""How many log queries of one project run at once, over all workers.

A turn is a lease: a worker that dies gives its turns back by running out of time.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

PAUSE_S = 0.05

# Lua, because turns are counted and taken together.
_TAKE: Final = """
local now, limit, until_, id = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= limit then return 0 end
redis.call('ZADD', KEYS[1], until_, id)
redis.call('EXPIREAT', KEYS[1], math.ceil(until_) + 1)
return 1
"""


def turns_key(project_id: int) -> str:
    return f"tg:logs:turns:{project_id}"


class LogTurns:
    """At most `limit` turns a project. Redis errors pass through."""

    def __init__(self, redis: Redis, *, limit: int, lease_s: float) -> None:
        self._redis = redis
        self._limit = limit
        self._lease_s = lease_s
        self._take = redis.register_script(_TAKE)

    def take(self, project_id: int, *, patience_s: float) -> str | None:
        """A turn, to be given back; None when there was none within `patience_s`."""
        key, turn = turns_key(project_id), uuid.uuid4().hex
        deadline = time.monotonic() + patience_s
        while not self._taken(key, turn):
            if time.monotonic() >= deadline:
                return None
            time.sleep(PAUSE_S)
        return turn

    def give_back(self, project_id: int, turn: str) -> None:
        with suppress(RedisError):  # it runs out by itself
            self._redis.zrem(turns_key(project_id), turn)

    def _taken(self, key: str, turn: str) -> bool:
        now = time.time()
        return bool(self._take(keys=[key], args=[now, self._limit, now + self._lease_s, turn]))
