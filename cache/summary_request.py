"""One `get_or_compute` while it is being answered."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cache import keys
from cache.journal import Journal
from cache.keys import SummaryKey
from cache.single_flight import Flight
from jobs.summarization import CacheStatus, Generation

Compute = Callable[[Journal], Awaitable[Generation]]
Render = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Request:
    """The text is rendered when it is first needed, and once."""

    key: SummaryKey
    content_fp: str
    render: Render
    budget_tokens: int
    forced_at: float | None
    owner: str
    compute: Compute
    peeked: bool = False
    rendered: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    async def text_fp(self) -> str:
        if self.rendered is None:
            self.rendered = await self.render()
        return self.rendered

    @property
    def flight(self) -> Flight:
        fingerprint = keys.fingerprint(self.content_fp, self.key.variant)
        return Flight(self.key, fingerprint, "plain" if self.forced_at is None else "forced")

    @property
    def local_name(self) -> object:
        return self.flight, self.budget_tokens

    @property
    def computed_status(self) -> CacheStatus:
        return "miss" if self.forced_at is None else "refresh"
