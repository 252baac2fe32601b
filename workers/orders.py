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
LAST_STEPS_S = 2.0  # from giving up on the provider to a stand-in in the hands of the caller
LAST_STEPS_SHARE = 0.25  # of a short wait


@dataclass(frozen=True, slots=True)
class Order:
    """One summary to be made: the request, and for whom. `arrived` is in UNIX seconds.

    `wait_s`: how long its caller waits for an answer that may be a stand-in; None: it does not wait, or wants
    no stand-in.
    """

    request: SummarizationRequest
    raw_bytes: int
    project_id: int
    job_id: str
    arrived: float
    forced_at: float | None
    check_canceled: Callable[[], None]
    terms: Terms | None = None
    wait_s: float | None = None


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


def patience_s(order: Order, deadline_s: float, *, now: float) -> float:
    """Seconds for all requests to the provider together. A stand-in has to come before its caller leaves."""
    if order.terms is not None:
        return order.terms.deadline_s
    if order.wait_s is None:
        return deadline_s
    left_s = order.arrived + order.wait_s - min(LAST_STEPS_S, order.wait_s * LAST_STEPS_SHARE) - now
    return max(0.0, min(deadline_s, left_s))


def explain(error: TracegistError, job_id: str) -> None:
    """What the endpoint adds to its failures, in the documented order."""
    attempts = error.extra.pop("attempts", 0)
    error.extra = {"error": FAILED, **error.extra, "job_id": job_id, "attempts": attempts}
