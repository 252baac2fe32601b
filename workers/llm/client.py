"""Ask an OpenAI-compatible model for a structured answer, and account for every answer that was paid for.

Retries, limits and the breaker are ours (the SDK's own retries are off). Cutting an input that is too long,
and all that concerns the content of a summary, is left to the caller.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import httpx2
import openai
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from workers.llm import errors, faults, metrics
from workers.llm.background import BackgroundCalls, Body, id_of_running, running_entry, running_id
from workers.llm.faults import Fault
from workers.llm.limits import Admission, Breaker, Quotas, Ticket, Unlimited, Verdict
from workers.llm.model import Accept, Answer, Book, CallScope, Journal, PaidCall, Prompt, T
from workers.llm.prices import Price, upper_bound_usd
from workers.llm.question import Paid, Question
from workers.llm.responses import background_fields
from workers.llm.wire import Profile, exhausted_for_s, request_fields

logger = logging.getLogger(__name__)

CHAT = b"chat/completions"
LEAST_ATTEMPT_S = 0.05
LONGEST_PAUSE_S = 60.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How often and how long one question is asked."""

    max_attempts: int = 4
    attempt_timeout_s: float = 60.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 8.0


def connect(
    *,
    api_key: str,
    base_url: str,
    connect_timeout_s: float,
    attempt_timeout_s: float,
    max_connections: int,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> openai.AsyncOpenAI:
    """The one client of a process for one base URL; close it with `await client.close()`."""
    timeout = httpx2.Timeout(attempt_timeout_s, connect=connect_timeout_s)
    limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
    http = (
        openai.DefaultAioHttpClient(timeout=timeout, limits=limits)
        if transport is None
        else httpx2.AsyncClient(timeout=timeout, limits=limits, transport=transport)
    )
    return openai.AsyncOpenAI(
        api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http
    )


class OpenAIChat:
    """One model of one provider. Cheap to make: connections belong to `client`, which all models share.

    `recoverable`: questions with a journal are answered in the background, so that a successor of a lost
    worker goes on waiting for the same answer instead of asking again. `room` bounds the requests on demand
    that are under way at once.
    """

    def __init__(
        self,
        name: str,
        *,
        client: openai.AsyncOpenAI,
        book: Book,
        policy: CallPolicy | None = None,
        profile: Profile = "openai",
        price: Price | None = None,
        quotas: Quotas | None = None,
        breaker: Breaker | None = None,
        recoverable: bool = False,
        room: asyncio.Semaphore | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = name
        self.policy = policy or CallPolicy()
        self.profile = profile
        self.price = price
        # The SDK's request without its walk over messages and schema, which takes as long as the rest.
        self._post: Callable[..., Awaitable[httpx2.Response]] = client.post
        # Joined once: the SDK would take the base address apart for each call.
        self._address = str(client.base_url.copy_with(raw_path=client.base_url.raw_path + CHAT))
        self._background = BackgroundCalls(client, sleep=sleep)
        self._recoverable = recoverable
        self._room = room
        self._book = book
        self._quotas: Quotas = quotas or Unlimited()
        self._breaker: Breaker = breaker or Unlimited()
        self._sleep = sleep
        self._jitter = wait_random_exponential(
            multiplier=self.policy.backoff_base_s, max=self.policy.backoff_cap_s
        )

    async def ask(self, prompt: Prompt, accept: Accept[T], *, scope: CallScope) -> Answer[T]:
        """Answers from the journal first, then from the provider, until one is accepted.

        Raises:
            LLMError: no usable answer in time; its class says why, its fields what was spent.
        """
        question = Question(
            prompt, accept, scope, self.price, self.policy.max_attempts, prompt.max_output_tokens
        )
        try:
            return await self._replay(question) or await self._retry(question)
        except Fault as fault:
            # The words of the provider may hold keys and prompts: they are for the debug log alone.
            logger.debug("The call to the model failed.", exc_info=fault)
            raise question.failure(fault.error, retry_after_s=fault.delay_s) from None

    async def _replay(self, question: Question[T]) -> Answer[T] | None:
        """Go through the answers that an earlier execution paid for, then wait for the one it waited for."""
        journal = question.scope.journal
        while journal is not None:
            entry = await journal.read(question.paid + 1)
            if entry is None:
                return None
            question.attempts += 1
            running = running_id(entry)
            try:
                if running is not None:
                    return await self._resume(question, running)
                metrics.JOURNAL_REPLAYS.inc()
                # It is in the ledger already.
                return question.judge(_replayed(question, entry), default_model=self.name)
            except Fault as fault:
                if not question.worth_another(fault):
                    raise
                if not fault.content:
                    return None
        return None

    async def _resume(self, question: Question[T], response_id: str) -> Answer[T]:
        """Wait for a call that another execution made. What that reserved for it stays reserved."""
        metrics.RESUMES.inc()

        async def wait(timeout_s: float) -> Body:
            return await self._background.wait(response_id, timeout_s=timeout_s)

        raw, latency_ms = await self._timed(question, wait, new=False)
        return await self._judge(question, await self._receive(question, raw, latency_ms))

    async def _retry(self, question: Question[T]) -> Answer[T]:
        failed: list[Fault] = []
        try:
            return await self._attempt(question)  # tenacity takes a twentieth of a call that needs no retry
        except Fault as fault:
            failed.append(fault)

        async def attempt() -> Answer[T]:
            if failed:
                raise failed.pop()
            return await self._attempt(question)

        def again(error: BaseException) -> bool:
            return isinstance(error, Fault) and question.worth_another(error)

        def no_time_left(state: RetryCallState) -> bool:
            return time.monotonic() + state.upcoming_sleep + LEAST_ATTEMPT_S > question.scope.deadline

        retrying = AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_exception(again),
            wait=self._delay,
            stop=no_time_left,
            before_sleep=_count_retry,
            reraise=True,
        )
        answer: Answer[T] = await retrying(attempt)
        return answer

    def _delay(self, state: RetryCallState) -> float:
        """The server's delay wins; unusable content needs no delay; everything else full jitter."""
        fault = _fault_of(state)
        if fault.delay_s is not None:
            return fault.delay_s
        return 0.0 if fault.content else float(self._jitter(state))

    async def _attempt(self, question: Question[T]) -> Answer[T]:
        """One request and what becomes of its answer. What was reserved is settled in any case."""
        # The room is for the request alone: the next one goes out while this answer is judged.
        leave = await self._take_place(question)
        try:
            ticket, raw, latency_ms = await self._reserve_and_request(question)
        finally:
            leave()
        paid: Paid | None = None
        try:
            paid = await self._receive(question, raw, latency_ms)
            return await self._judge(question, paid)
        finally:
            await _settle(ticket, question, paid)

    async def _take_place(self, question: Question[T]) -> Callable[[], None]:
        """A place among the calls on demand of this process, in time; what gives it back."""
        if self._room is None or not question.scope.on_demand:
            return lambda: None
        try:
            async with asyncio.timeout(max(0.0, question.scope.deadline - time.monotonic())):
                await self._room.acquire()
        except TimeoutError:
            raise question.failure(errors.LLMTimeout) from None
        return self._room.release

    async def _reserve_and_request(self, question: Question[T]) -> tuple[Ticket, bytes, float]:
        """Room in the limits, a closed breaker, one request: its reservation, its body, its milliseconds."""
        _refuse_when_blocked(question, self._breaker.blocked_s())
        ticket = await self._reserve(question)
        try:
            admission = await self._breaker.admit()
            _refuse_when_blocked(question, admission.retry_after_s)
            if question.scope.before_call is not None:
                await question.scope.before_call()
            return ticket, *await self._request(question, admission)
        except BaseException:
            await _settle(ticket, question, None)
            raise

    async def _reserve(self, question: Question[T]) -> Ticket:
        scope, output = question.scope, question.max_output_tokens
        started = time.monotonic()
        ticket = await self._quotas.reserve(
            project_id=scope.project_id,
            job_id=scope.job_id,
            on_demand=scope.on_demand,
            tokens=question.input_tokens + output,
            usd=upper_bound_usd(question.input_tokens, output, self.price),
            job_cap_usd=scope.spend_cap_usd,
            deadline=scope.deadline,
        )
        metrics.LIMITER_WAIT.observe(time.monotonic() - started)
        if ticket.refusal == "budget":
            raise question.failure(errors.BudgetExceeded)
        if ticket.refusal == "price":
            raise question.failure(errors.Misconfigured, detail="A spend cap needs a price for the model.")
        if ticket.refusal == "rate":
            raise question.failure(errors.OutOfQuota, retry_after_s=ticket.retry_after_s)
        return ticket

    async def _request(self, question: Question[T], admission: Admission) -> tuple[bytes, float]:
        """One request; breaker, shared limits and metrics learn how it went."""
        verdict: Verdict = "neutral"
        outcome = "canceled"
        try:
            answer = await self._call(question)
            verdict, outcome = "success", "paid"
            return answer
        except Fault as fault:
            verdict, outcome = fault.verdict, fault.reason
            if fault.pause_s > 0:
                await self._quotas.pause(min(fault.pause_s, LONGEST_PAUSE_S))
            raise
        finally:
            metrics.REQUESTS.labels(self.name, outcome).inc()
            await self._breaker.record(admission, verdict)
            metrics.BREAKER_STATE.labels(self.name).set(self._breaker.open)

    async def _receive(self, question: Question[T], raw: bytes, latency_ms: float) -> Paid:
        """Journal a paid answer before anything is done with it."""
        journal = question.scope.journal
        if journal is not None:
            await journal.write(question.paid + 1, _journaled(raw, latency_ms))
        return question.receive(raw, latency_ms=latency_ms)

    async def _call(self, question: Question[T]) -> tuple[bytes, float]:
        """The body of a 200, and the time it took in milliseconds."""
        if self._recoverable and question.scope.journal is not None:
            call = partial(self._call_in_background, question, question.scope.journal)
        else:
            call = partial(self._call_and_stay, question)
        return await self._timed(question, call, new=True)

    async def _call_and_stay(self, question: Question[T], timeout_s: float) -> Body:
        fields = self._fields(question, request_fields)
        # The transport's read timeout starts again with each piece; this one covers the attempt.
        async with asyncio.timeout(timeout_s):
            return await self._post(self._address, cast_to=httpx2.Response, content=orjson.dumps(fields))

    async def _call_in_background(self, question: Question[T], journal: Journal, timeout_s: float) -> Body:
        """The id is journaled before anything is waited for. Only a cancellation leaves `running` set."""
        until = time.monotonic() + timeout_s
        fields = self._fields(question, background_fields)
        started = await self._background.start(fields, timeout_s=timeout_s)
        response_id = id_of_running(started.content)
        if response_id is None:
            return started
        question.running = True
        await journal.write(question.paid + 1, running_entry(response_id))
        await self._heed(started.headers)
        try:
            return await self._background.wait(response_id, timeout_s=until - time.monotonic())
        except asyncio.CancelledError:
            raise
        except BaseException:
            question.running = False
            raise

    def _fields(self, question: Question[T], form: Callable[..., dict[str, object]]) -> dict[str, object]:
        return form(
            question.prompt,
            model=self.name,
            profile=self.profile,
            max_output_tokens=question.max_output_tokens,
            explicit_cache=self.price is not None and self.price.writes_cost_extra,
        )

    async def _timed(
        self, question: Question[T], call: Callable[[float], Awaitable[Body]], *, new: bool
    ) -> tuple[bytes, float]:
        """The body that the call brings, and its time in milliseconds. `new`: it is one more attempt."""
        left = question.scope.deadline - time.monotonic()
        if left < LEAST_ATTEMPT_S:
            raise question.failure(errors.LLMTimeout)
        question.attempts += new
        started = time.perf_counter()
        metrics.INFLIGHT.inc()
        try:
            answer = await call(min(self.policy.attempt_timeout_s, left))
        except Exception as error:
            fault = faults.of_exception(error)
            if fault is None:
                raise
            question.latency_ms += (time.perf_counter() - started) * 1000
            raise fault from error
        finally:
            metrics.INFLIGHT.dec()
            seconds = time.perf_counter() - started
            metrics.SECONDS.labels(self.name).observe(seconds)
        question.running = False
        await self._heed(answer.headers)
        return answer.content, seconds * 1000

    async def _heed(self, headers: Mapping[str, str]) -> None:
        """A provider says that nothing is left before it begins to answer 429."""
        seconds = exhausted_for_s(headers)
        if seconds > 0:
            await self._quotas.pause(min(seconds, LONGEST_PAUSE_S))

    async def _judge(self, question: Question[T], paid: Paid) -> Answer[T]:
        """Accept or not, and book the line either way. No await comes between the journal and the booking."""
        attempt, kept = question.paid, False
        try:
            answer = question.judge(paid, default_model=self.name)
            kept = True
            return answer
        finally:
            self._count(paid, kept=kept)
            scope, completion = question.scope, paid.completion
            model = completion.model or self.name
            await self._book(
                PaidCall(
                    scope.project_id, scope.job_id, model, completion.usage, paid.cost_usd, attempt, kept
                )
            )

    def _count(self, paid: Paid, *, kept: bool) -> None:
        usage = paid.completion.usage
        metrics.TOKENS.labels(self.name, "input").inc(usage.prompt_tokens)
        metrics.TOKENS.labels(self.name, "output").inc(usage.completion_tokens)
        metrics.COST.labels(self.name).inc(paid.cost_usd or 0.0)
        if not kept:
            metrics.PAID_DISCARDED.labels(self.name).inc()


async def _settle(ticket: Ticket, question: Question[T], paid: Paid | None) -> None:
    # What goes on in the background keeps its reservation: whoever resumes it makes none.
    if not question.running:
        tokens = paid.completion.usage.total_tokens if paid else 0
        await ticket.settle(tokens=tokens, usd=(paid.cost_usd or 0.0) if paid else 0.0)


def _refuse_when_blocked(question: Question[T], seconds: float) -> None:
    if seconds > 0:
        raise question.failure(errors.LLMUnavailable, retry_after_s=seconds)


def _fault_of(state: RetryCallState) -> Fault:
    fault = state.outcome.exception() if state.outcome else None
    if not isinstance(fault, Fault):
        raise TypeError("only faults are retried")
    return fault


def _count_retry(state: RetryCallState) -> None:
    metrics.RETRIES.labels(_fault_of(state).reason).inc()


def _journaled(raw: bytes, latency_ms: float) -> bytes:
    """The time in milliseconds on the first line, then the body as it came.

    A word after the time marks an answer that came in a batch (`batch_lines.BATCH_ENTRY`).
    """
    return b"%.1f\n%b" % (latency_ms, raw)


def _replayed(question: Question[T], entry: bytes) -> Paid:
    head, _, raw = entry.partition(b"\n")
    latency_ms, *batch = head.split()
    return question.receive(raw, latency_ms=float(latency_ms), batch=bool(batch))
