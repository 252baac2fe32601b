"""Summaries in a worker process: the model client, the cache and the ledger, on one event loop.

`workers/tasks/summarization.py` hands it checked requests; the work itself is in `workers/summarization`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace

import openai
import structlog
from redis.asyncio import Redis
from sqlalchemy.orm import Session, sessionmaker

from cache.answered import AnsweredLog
from cache.breaker import BreakerRules, CircuitBreaker
from cache.connection import FaultCounter, StoreGate, cache_client, coordination_client
from cache.keys import content_fp, fingerprint, summary_key, text_fp
from cache.quotas import CallQuotas, QuotaLimits
from cache.summaries import Hit, Journal, Negative, Outcome, Sought, SummaryCache
from config.settings import Settings
from jobs.answered import AnsweredSummary, answered, not_answered
from jobs.errors import TracegistError
from jobs.records import format_time
from jobs.summarization import (
    EXTRACTIVE,
    CacheFacts,
    CacheStatus,
    Generation,
    LineRefCounts,
    answer_body,
    input_budget,
)
from jobs.summarization_request import SummarizationRequest
from workers.event_loop import LoopThread, T
from workers.ledger import Ledger
from workers.llm.client import CallPolicy, OpenAIChat, connect
from workers.llm.errors import LLMError
from workers.llm.metrics import PAID_DISCARDED
from workers.llm.model import CallScope, ChatModel
from workers.llm.prices import price_of
from workers.metrics import LINE_REFS, SUMMARIES
from workers.orders import Order, patience_s
from workers.summarization.pipeline import Generated, generate, generate_extractive
from workers.summarization.shown_text import ShownText, reduce_text, show_text
from workers.summarization.tokens import estimate_tokens
from workers.text_repr import RENDERER_VERSION

log = structlog.get_logger()

JUST_STARTED_S = 0.5
_REFERENCES = {
    result: LINE_REFS.labels(result) for result in ("valid", "repaired", "relocated", "dropped", "unanchored")
}
SMALL_BYTES = 32_768  # of a request: read and rendered in about a millisecond, less than a thread would cost
RENDERERS = 4  # threads for all larger ones; they share the interpreter with the loop


@dataclass(frozen=True, slots=True)
class Made:
    """A summary with how the cache took part. `charged`: it was generated for this order.

    `shown` is None when the summary was found without its text.
    """

    generation: Generation
    shown: ShownText | None
    facts: CacheFacts
    charged: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order with the fingerprint of its content and its text."""

    order: Order
    content: str
    shown: ShownText


class SummaryRuntime:
    """Opened at the first summary of a process."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._settings = settings
        self._loop = LoopThread("summaries")
        self._renderers = ThreadPoolExecutor(RENDERERS, thread_name_prefix="render")
        self._loop.run(self._open(settings, sessions))

    @property
    def coordination(self) -> Redis:
        """The client of the loop; only coroutines of the loop may use it."""
        return self._coordination

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run on the loop, and wait for it."""
        return self._loop.run(coroutine)

    def start(self, coroutine: Coroutine[object, object, T]) -> Future[T]:
        """Run on the loop, without waiting."""
        return self._loop.start(coroutine)

    def spawn(self, make: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run on the loop; nobody learns of its end."""
        self._loop.spawn(make)

    def prepare(self, order: Order) -> Prepared:
        """What `make` needs of an order. Computes: for a large request not on the loop."""
        return Prepared(order, content_fp(order.request.data), self.shown(order))

    def shown(self, order: Order) -> ShownText:
        """The numbered text, cut to the budget of the surface. Computes: not for the loop."""
        return show_text(
            order.request.summarize_type,
            order.request.data,
            raw_bytes=order.raw_bytes,
            budget_tokens=self._budget(order),
        )

    def note(self, answers: Sequence[AnsweredSummary]) -> None:
        """Note answers that were given without `make` or `peek_all`; they note their own."""

        async def add() -> None:  # the log belongs to the loop
            self._answered.add_all(answers)

        if answers:
            self._loop.start(add())

    def close(self) -> None:
        self._loop.run(self._close())
        self._loop.stop()
        self._renderers.shutdown(cancel_futures=True)

    # the loop's side -----------------------------------------------------------------------------

    async def _open(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._coordination: Redis = coordination_client(settings.redis_url)
        self._cached: Redis = cache_client(
            settings.effective_cache_url, timeout_s=settings.summary_cache_timeout_s
        )
        self._cache = SummaryCache(
            self._cached,
            self._coordination,
            ttl_s=settings.summary_cache_ttl_s,
            lease_s=settings.lease_s,
            early_refresh_beta=settings.early_refresh_beta,
            gate=StoreGate(
                limit_s=settings.summary_cache_timeout_s,
                faults=FaultCounter(skip_s=settings.summary_cache_skip_s),
            ),
        )
        self._quotas = CallQuotas(self._coordination, _limits(settings))
        self._ledger = Ledger(self._coordination, sessions)
        self._answered = AnsweredLog(self._coordination)
        self._answered.start()
        self._client: openai.AsyncOpenAI | None = None
        self._room = asyncio.Semaphore(settings.llm_concurrency)
        self._chats: dict[str, OpenAIChat] = {}

    async def _close(self) -> None:
        await self._answered.stop()
        await self._cache.aclose()
        await self._quotas.close()
        if self._client is not None:
            await self._client.close()
        await self._coordination.aclose()
        await self._cached.aclose()

    async def answer(self, prepare: Callable[[], Prepared], raw_bytes: int) -> dict[str, object]:
        """The 200 body of a request of this size.

        Raises:
            TracegistError: what the caller is to read.
        """
        if raw_bytes <= SMALL_BYTES:
            prepared = prepare()
        else:
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self._renderers, copy_context().run, prepare)
        order, shown = prepared.order, prepared.shown
        try:
            made = await self.make(order, prepared.content, shown)
        except TracegistError as error:
            made = self.in_place_of(error, order, shown)
        return self.body(order, made)

    async def make(self, order: Order, content: str, shown: ShownText) -> Made:
        """The summary from the cache, from another execution, or from the model.

        Raises:
            TracegistError: there is none.
        """
        request = order.request
        key = summary_key(order.project_id, request, base_url=self._settings.openai_base_url)
        computed: list[Generated] = []

        async def compute(journal: Journal) -> Generation:
            computed.append(await self._generate(order, shown, fingerprint(content, key.variant), journal))
            return computed[-1].generation

        async def rendered() -> str:
            return text_fp(RENDERER_VERSION, shown.text)

        try:
            outcome = await self._cache.get_or_compute(
                key,
                content_fp=content,
                text_fp=rendered,
                budget_tokens=self._budget(order),
                forced_at=order.forced_at,
                owner=order.job_id,
                compute=compute,
                # Somebody has looked before the text was rendered, unless the answer needs the text.
                peeked=not request.include_text_repr,
            )
        except TracegistError as error:
            _count(request, error.code)
            self._answered.add(not_answered(order.project_id, request, error.code))
            raise
        _count(request, outcome.status)
        self._answered.add(
            answered(order.project_id, request, outcome.generation, outcome.status, charged=bool(computed))
        )
        if computed:
            _count_references(computed[-1].generation.line_refs)
        if outcome.discarded:
            PAID_DISCARDED.labels(request.model).inc(outcome.generation.attempts > 0)
            await self._ledger.discard(order.job_id)
        seen = _as_shown(outcome, shown, computed)
        return Made(outcome.generation, seen, outcome.facts(), charged=bool(computed))

    def in_place_of(self, error: TracegistError, order: Order, shown: ShownText) -> Made:
        """What the request wants instead of a summary that failed.

        Raises:
            TracegistError: nothing else, so the same error.
        """
        if order.request.on_llm_failure == "error" or error.status == 500:
            raise error
        key = summary_key(order.project_id, order.request, base_url=self._settings.openai_base_url)
        stand_in = _fallback(order, shown, error, fingerprint(content_fp(order.request.data), key.variant))
        status: CacheStatus = "miss" if order.forced_at is None else "refresh"
        return Made(stand_in, shown, CacheFacts(status), charged=True)

    async def peek_all(self, asked: Sequence[tuple[Order, str]]) -> list[Made | None]:
        """Summaries that are in the cache, found without rendering: of orders of one project, each with the
        fingerprint of its content.
        """
        found = await self._cache.peek_all(
            [
                Sought(
                    summary_key(order.project_id, order.request, base_url=self._settings.openai_base_url),
                    content,
                    self._budget(order),
                )
                for order, content in asked
            ]
        )
        return [self._found(order, hit) for (order, _), hit in zip(asked, found, strict=True)]

    def _found(self, order: Order, found: Hit | Negative | None) -> Made | None:
        if not isinstance(found, Hit) or found.stale:
            return None
        generation = found.entry.generation
        _count(order.request, "hit")
        self._answered.add(answered(order.project_id, order.request, generation, "hit", charged=False))
        facts = CacheFacts("hit", int(found.age_s), format_time(found.entry.expires_at))
        return Made(generation, None, facts, charged=False)

    async def _generate(self, order: Order, shown: ShownText, print_: str, journal: Journal) -> Generated:
        request = order.request
        if request.model == EXTRACTIVE:
            return generate_extractive(
                summarize_type=request.summarize_type,
                mode=request.mode,
                data=request.data,
                shown=shown,
                requested_model=request.model,
                fingerprint=print_,
            )
        began = time.monotonic()

        async def still_wanted() -> None:
            # A job that has just started is; after a wait or a failed attempt the store is asked.
            if time.monotonic() - began > JUST_STARTED_S:
                await asyncio.to_thread(order.check_canceled)

        terms = order.terms
        chat: ChatModel = self.chat(request.model)
        if terms is not None:
            chat, journal = terms.asked(chat), terms.journal(journal)
        scope = CallScope(
            order.project_id,
            order.job_id,
            on_demand=terms is None,
            deadline=began + patience_s(order, self._settings.llm_deadline_s, now=time.time()),
            journal=journal,
            spend_cap_usd=terms.max_spend_usd if terms else None,
            before_call=terms.before_call if terms else still_wanted,
        )

        def ask() -> Awaitable[Generated]:
            return generate(
                summarize_type=request.summarize_type,
                mode=request.mode,
                data=request.data,
                focus=request.focus,
                shown=shown,
                chat=chat,
                scope=scope,
                requested_model=request.model,
                fingerprint=print_,
            )

        return await (terms.through(ask) if terms else ask())

    def chat(self, model: str) -> OpenAIChat:
        """The model of this name; only coroutines of the loop may use it."""
        if model not in self._chats:
            self._chats[model] = self._make_chat(model)
        return self._chats[model]

    def _make_chat(self, model: str) -> OpenAIChat:
        settings = self._settings
        if self._client is None:
            self._client = connect(
                api_key=settings.openai_api_key,
                base_url=settings.openai_base_url,
                connect_timeout_s=settings.llm_connect_timeout_s,
                attempt_timeout_s=settings.llm_attempt_timeout_s,
                max_connections=max(256, settings.llm_concurrency, settings.bulk_concurrency),
            )
        rules = BreakerRules(
            failures_in_a_row=settings.breaker_failures,
            open_s=settings.breaker_open_s,
            probe_s=settings.llm_attempt_timeout_s + 5,
        )
        price = price_of(settings.llm_prices.get(model))
        return OpenAIChat(
            model,
            client=self._client,
            book=self._ledger.book,
            policy=CallPolicy(
                max_attempts=settings.llm_max_attempts, attempt_timeout_s=settings.llm_attempt_timeout_s
            ),
            profile=settings.llm_profile,
            price=price,
            quotas=self._quotas,
            recoverable=settings.llm_recoverable,
            room=self._room,
            breaker=CircuitBreaker(
                self._coordination, base_url=settings.openai_base_url, model=model, rules=rules
            ),
        )

    def _budget(self, order: Order) -> int:
        settings = self._settings
        return input_budget(
            order.request.model,
            order.request.mode,
            windows=settings.llm_windows,
            cap=settings.bulk_max_input_tokens if order.terms else settings.max_input_tokens,
        )

    def body(self, order: Order, made: Made) -> dict[str, object]:
        """The 200 body of the request."""
        request = order.request
        shown = made.shown if request.include_text_repr else None
        return answer_body(
            made.generation,
            summarize_type=request.summarize_type,
            mode=request.mode,
            entity_id=request.entity_id,
            format=request.format,
            cache=made.facts,
            charged_usd=made.generation.cost_usd if made.charged else 0,
            total_ms=(time.time() - order.arrived) * 1000,
            job_id=None if made.facts.status == "hit" else order.job_id,
            text_repr=None if shown is None else shown.text,
        )


def _limits(settings: Settings) -> QuotaLimits:
    return QuotaLimits(
        requests_per_minute=settings.llm_rpm,
        tokens_per_minute=settings.llm_tpm,
        project_requests_per_minute=settings.llm_project_rpm,
        max_inflight=settings.llm_max_inflight,
        spend_cap_usd=settings.llm_spend_cap_usd,
    )


def _count(request: SummarizationRequest, outcome: str) -> None:
    provider = EXTRACTIVE if request.model == EXTRACTIVE else "openai"
    SUMMARIES.labels(request.summarize_type, request.mode, provider, outcome).inc()


def _count_references(counts: LineRefCounts) -> None:
    for result, counted in _REFERENCES.items():
        counted.inc(getattr(counts, result))


def _fallback(order: Order, shown: ShownText, error: TracegistError, print_: str) -> Generation:
    """The offline summary in place of a failed one, with what the failed attempts took."""
    request = order.request
    generation = generate_extractive(
        summarize_type=request.summarize_type,
        mode=request.mode,
        data=request.data,
        shown=shown,
        requested_model=request.model,
        fingerprint=print_,
        fallback_reason=error.code,
    ).generation
    if not isinstance(error, LLMError):
        return generation
    return replace(
        generation,
        usage=error.usage,
        cost_usd=error.cost_usd,
        latency_ms=error.latency_ms,
        attempts=error.attempts,
    )


def _as_shown(outcome: Outcome, shown: ShownText, made: list[Generated]) -> ShownText:
    """The text that the model of the summary saw, which may have been cut further than ours."""
    if made and made[-1].generation == outcome.generation:
        return made[-1].shown
    for _ in range(2):
        if shown.facts == outcome.generation.text:
            break
        shown = reduce_text(shown, estimate_tokens(shown.text) // 2)
    return shown
