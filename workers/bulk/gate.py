"""What every call of a bulk job passes in this process: the caps of the job, and its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from redis.exceptions import RedisError

from jobs.bulk import BulkOptions
from jobs.chunks import Calls
from jobs.errors import TracegistError
from jobs.records import JobRecord
from workers.base import Canceled
from workers.llm.batch_lines import Configured, PrepaidJournal, RequestTaker
from workers.llm.errors import BudgetExceeded, LLMUnavailable, OutOfQuota
from workers.llm.model import ChatModel, Journal
from workers.summarization.pipeline import Generated

DEADLINE_S = 300.0  # of one item, all attempts and waits together
POLL_S = 0.25  # how long a wait goes on after the job was asked to stop
LONGEST_WAIT_S = 60.0
RESERVED_S = 0.05  # between a reservation of money and the call for it


class PutBack(BaseException):
    """There is no room for the item now: it goes back to the queue.

    Not an Exception, like `Canceled`: whoever waits for the same summary makes it instead of failing.
    """

    def __init__(self, delay_s: float) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s


class OverBudget(BaseException):
    """The job has used up what it may spend. Not an Exception: others may pay for the summary."""

    def __init__(self, error: TracegistError) -> None:
        super().__init__(error)
        self.error = error


class _CallsUsedUp(BudgetExceeded):
    default_detail = "The job has made all the calls that it may. Send the rest with a larger max_llm_calls."


@dataclass(slots=True)
class JobGate:
    """Shared by all items of one job in this process. Used on the loop; `canceled` is set from outside."""

    record: JobRecord
    options: BulkOptions
    calls: Calls
    canceled: bool = False
    holders: int = 0
    in_flight: int = 0
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    def freed(self) -> None:
        self.in_flight -= 1
        self._freed.set()

    async def pause(self, seconds: float) -> None:
        """
        Raises:
            Canceled: the job was asked to stop meanwhile.
        """
        whole, rest = divmod(seconds, POLL_S)
        for piece in (*[POLL_S] * int(whole), rest):
            await asyncio.sleep(piece)
            self.check()

    async def next_freed(self) -> None:
        """Until a call of this job has ended, and what it did not spend is free again."""
        self._freed.clear()
        try:
            async with asyncio.timeout(POLL_S):
                await self._freed.wait()
        except TimeoutError:
            self.check()

    def check(self) -> None:
        if self.canceled:
            raise Canceled


@dataclass(slots=True)
class ItemTerms:
    """The terms of one item (`workers.orders.Terms`); `calls` are the requests made for it."""

    gate: JobGate
    calls: int = 0
    deadline_s: float = DEADLINE_S
    deferring: bool = False  # the request is to travel in a batch
    answer: bytes | None = None  # what came in a batch
    _flying: bool = False

    @property
    def max_spend_usd(self) -> float | None:
        return self.gate.options.max_spend_usd

    def asked(self, chat: ChatModel) -> ChatModel:
        # Only what can be configured has requests that can be written down.
        return RequestTaker(cast("Configured", chat)) if self.deferring else chat

    def journal(self, journal: Journal) -> Journal:
        return journal if self.answer is None else PrepaidJournal(self.answer, journal)

    def check(self) -> None:
        """What was paid for is made into a summary, also after the job was asked to stop.

        Raises:
            Canceled: the job was asked to stop.
        """
        if self.answer is None:
            self.gate.check()

    async def before_call(self) -> None:
        gate, most = self.gate, self.gate.options.max_llm_calls
        gate.check()
        if most is not None:
            try:
                allowed = await gate.calls.one_more(gate.record.id, most=most)
            except (RedisError, OSError):
                raise PutBack(1.0) from None  # without the count no call: the cap is never passed
            if not allowed:
                raise _CallsUsedUp
        self.calls += 1
        if not self._flying:
            self._flying = True
            gate.in_flight += 1

    async def through(self, make: Callable[[], Awaitable[Generated]]) -> Generated:
        """Wait where that helps: for money that others give back, for a provider that is to be left alone.

        Raises:
            PutBack: our own rate limits leave no room.
            OverBudget: nobody gives anything back any more.
            LLMError: as `make`.
        """
        waited = False
        while True:
            self.check()
            try:
                return await make()
            except _CallsUsedUp as error:
                raise OverBudget(error) from None
            except BudgetExceeded as error:
                alone = not self.gate.in_flight
                if error.attempts or (alone and waited):
                    raise OverBudget(error) from None
                waited = alone
                await (asyncio.sleep(RESERVED_S) if alone else self.gate.next_freed())
            except OutOfQuota as error:
                raise PutBack(float(error.retry_after_s or 1)) from None
            except LLMUnavailable as error:
                if error.attempts or waited or not error.retry_after_s:
                    raise
                waited = True
                await self.gate.pause(min(error.retry_after_s, LONGEST_WAIT_S))
            finally:
                self._land()

    def _land(self) -> None:
        if self._flying:
            self._flying = False
            self.gate.freed()
