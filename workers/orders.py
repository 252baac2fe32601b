"""What a task asks of `workers/summaries.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.errors import TracegistError
from jobs.summarization_request import SummarizationRequest
from workers.llm.model import ChatModel, Journal
from workers.summarization.pipeline import Generated

FAILED = "Failed to generate summary"


@dataclass(frozen=True, slots=True)
class Order:
    """One summary to be made: the request, and for whom. `arrived` is in UNIX seconds."""

    request: SummarizationRequest
    raw_bytes: int
    project_id: int
    job_id: str
    arrived: float
    forced_at: float | None
    check_canceled: Callable[[], None]
    terms: Terms | None = None


class Terms(Protocol):
    """What calls for an item of a bulk job have to heed; a single call has the waiting caller's terms."""

    @property
    def deadline_s(self) -> float: ...

    @property
    def max_spend_usd(self) -> float | None: ...

    async def before_call(self) -> None:
        """Right before each request to the provider; may raise to stop."""

    def asked(self, chat: ChatModel) -> ChatModel:
        """The model to ask instead of this one."""

    def journal(self, journal: Journal) -> Journal:
        """The journal to use instead of this one."""

    async def through(self, make: Callable[[], Awaitable[Generated]]) -> Generated:
        """`make`, again and again while there is reason to wait for room."""


def explain(error: TracegistError, job_id: str) -> None:
    """What the endpoint adds to its failures, in the documented order."""
    attempts = error.extra.pop("attempts", 0)
    error.extra = {"error": FAILED, **error.extra, "job_id": job_id, "attempts": attempts}
