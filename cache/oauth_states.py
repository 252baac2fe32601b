"""Connect flows that are under way: a state lives for ten minutes and works once.

Losing one means that somebody has to start again. Errors of the store pass through: the caller decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio

from cache.connection import Script
from cache.keys import oauth_state_key

# The flow of this kind, and of this project and user when they are given; gone with the answer. One that does
# not match stays: whoever guesses must not be able to end the flow of somebody else.
TAKE: Final = """
local found = redis.call('HGETALL', KEYS[1])
local flow = {}
for place = 1, #found, 2 do flow[found[place]] = found[place + 1] end
if flow.kind ~= ARGV[1] then return {} end
if ARGV[2] ~= '' and (flow.project_id ~= ARGV[2] or flow.user_id ~= ARGV[3]) then return {} end
redis.call('DEL', KEYS[1])
return found
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """Who connects what, and where a browser goes then. `sealed` holds what only the exchange may know."""

    project_id: int
    user_id: int
    kind: str
    next: str
    sealed: str


class OAuthStates:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client  # its annotations describe text and bytes replies at once; ours are bytes
        self._take = Script(client, TAKE)

    async def start(self, state: str, flow: Flow, *, life_s: int) -> None:
        key = oauth_state_key(state)
        fields = {name: str(getattr(flow, name)) for name in Flow.__slots__}
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=fields)
            pipe.expire(key, life_s)
            await pipe.execute()

    async def take(self, state: str, kind: str, *, project_id: int, user_id: int) -> Flow | None:
        """The flow, once, when it is of this kind, project and user; of N callers at once one gets it."""
        return await self._taken(state, kind, str(project_id), str(user_id))

    async def take_in_browser(self, state: str, kind: str) -> Flow | None:
        """The flow, once, for the browser that started it: whoever calls has compared the cookie."""
        return await self._taken(state, kind, "", "")

    async def look(self, state: str, kind: str) -> Flow | None:
        """The flow, without using it up."""
        flow = _flow(await self._client.hgetall(oauth_state_key(state)))
        return flow if flow is not None and flow.kind == kind else None

    async def _taken(self, state: str, *arguments: str) -> Flow | None:
        reply = await self._take(*arguments, keys=[oauth_state_key(state)])
        return _flow(dict(zip(reply[::2], reply[1::2], strict=True)))


def _flow(raw: dict[bytes, bytes]) -> Flow | None:
    if not raw:
        return None
    fields = {name.decode(): value.decode() for name, value in raw.items()}
    return Flow(
        project_id=int(fields["project_id"]),
        user_id=int(fields["user_id"]),
        kind=fields["kind"],
        next=fields["next"],
        sealed=fields["sealed"],
    )
