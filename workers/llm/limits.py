"""What a call asks for before it is made: room in the rate limits, and a closed breaker.

The shared state lives in `cache/quota_store.py` and `cache/breaker.py`; here is what the client relies on.
"""

from __future__ import annotations

from typing import Literal, Protocol

Refusal = Literal["rate", "budget", "price"]
Verdict = Literal["success", "failure", "fatal", "neutral"]


class Ticket(Protocol):
    """The outcome of a reservation. A refused ticket needs no settling."""

    @property
    def refusal(self) -> Refusal | None: ...

    @property
    def retry_after_s(self) -> float: ...

    async def settle(self, *, tokens: int, usd: float) -> None:
        """Give back what was reserved and not used. Called once, whatever became of the call."""


class Quotas(Protocol):
    async def reserve(
        self,
        *,
        project_id: int,
        job_id: str | None,
        on_demand: bool,
        tokens: int,
        usd: float | None,
        job_cap_usd: float | None,
        deadline: float,
    ) -> Ticket:
        """Wait for room until `deadline` (monotonic); `usd` is None when the price is not known."""

    async def pause(self, seconds: float) -> None:
        """The provider told everybody to wait."""


class Admission(Protocol):
    @property
    def retry_after_s(self) -> float:
        """0 when the call may be made."""


class Breaker(Protocol):
    @property
    def open(self) -> bool: ...

    def blocked_s(self) -> float:
        """Seconds for which calls are pointless, as far as this process knows; 0 when closed."""

    async def admit(self) -> Admission: ...

    async def record(self, admission: Admission, verdict: Verdict) -> None: ...


class Unlimited:
    """No limits at all: `Quotas`, `Ticket`, `Breaker` and `Admission` in one, for tests and small set-ups."""

    refusal: Refusal | None = None
    retry_after_s = 0.0
    open = False

    async def reserve(self, **_demand: object) -> Unlimited:
        return self

    async def settle(self, *, tokens: int, usd: float) -> None:
        """Nothing was reserved."""

    async def pause(self, seconds: float) -> None:
        """Nobody to tell."""

    def blocked_s(self) -> float:
        return 0.0

    async def admit(self) -> Unlimited:
        return self

    async def record(self, admission: Admission, verdict: Verdict) -> None:
        """Nothing is counted."""
