"""One chunk of a bulk job, from its rows to its results.

Items with the same identity are one group: one generation, and a row for each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from cache.keys import text_fp
from jobs.answered import AnsweredSummary, answered, not_answered
from jobs.bulk import error_outcome, read_ask, row_outcome
from jobs.chunks import Chunk
from jobs.errors import InternalError, TracegistError
from jobs.json_text import load_json
from jobs.packing import pack, unpack
from jobs.summarization import CacheFacts
from jobs.summarization_request import SummarizationRequest
from storage import batches as batch_rows
from storage import bulk as bulk_rows
from storage import bulk_steps
from storage.batches import NewRequest
from storage.bulk import WaitingItem
from storage.bulk_steps import FinishedItem, Step
from workers.base import Canceled
from workers.bulk.dispatch import Dispatcher, announce_items
from workers.bulk.gate import ItemTerms, JobGate, OverBudget, PutBack
from workers.llm.batch_lines import Deferred
from workers.llm.errors import LLMError
from workers.orders import Order, explain
from workers.summaries import Made, SummaryRuntime
from workers.summarization.shown_text import ShownText
from workers.text_repr import RENDERER_VERSION

log = structlog.get_logger()

FLUSH_EVERY_S = 0.25
FLUSH_ITEMS = 64
PEEKED_AT_ONCE = 32  # in one look into the cache, whose answers are held together
LOADED_BYTES = 8_388_608  # of unpacked contents that are loaded in one step
DATABASE_PATIENCE_S = 60.0  # rows may have been paid for

W = TypeVar("W")


@dataclass(slots=True)
class Group:
    """Equal items, the first of which stands for all. `asks` are their requests, without the data.

    `shown` is the text, once it is rendered; `answered_text_fp` that of a request that was sent in a batch.
    `over_budget`: it ended before anybody noted an answer.
    """

    members: list[WaitingItem]
    asks: list[SummarizationRequest]
    order: Order
    terms: ItemTerms
    began: float = field(default_factory=time.monotonic)
    shown: ShownText | None = None
    over_budget: bool = False
    answered_text_fp: str | None = None

    @property
    def content_fp(self) -> str:
        return self.members[0].content_fp

    @property
    def source(self) -> int:
        """The position of the item that holds the content."""
        first = self.members[0]
        return first.position if first.leader is None else first.leader

    @property
    def needs_text(self) -> bool:
        return any(ask.include_text_repr for ask in self.asks)


Ended = tuple[Group, "Made | TracegistError | PutBack | Deferred"]


class ChunkRun:
    """One execution of one chunk, in one thread."""

    def __init__(
        self,
        chunk: Chunk,
        gate: JobGate,
        *,
        sessions: sessionmaker[Session],
        dispatcher: Dispatcher,
        summaries: SummaryRuntime,
        slots: asyncio.Semaphore,
    ) -> None:
        self._chunk = chunk
        self._gate = gate
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._summaries = summaries
        self._slots = slots
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._unwritten: list[FinishedItem] = []
        self._unnoted: list[AnsweredSummary] = []
        self._deferred: list[NewRequest] = []
        self._written_at = time.monotonic()
        self._left = 0
        self._delay_s: float | None = None

    def work(self) -> float | None:
        """Finish the items; when some have to wait: after how many seconds they may be tried again."""
        with self._sessions() as session:
            items = bulk_rows.waiting_items(session, self._chunk.job_id, self._chunk.number)
            groups = self._by_batch(session, self._groups(items))
        self._left = sum(len(group.members) for group in groups)
        started = sum(self._start_all(self._without_hits(groups)))
        for _ in range(started):
            self._take(self._next_ended())
        self._write()
        return self._delay_s

    def _groups(self, items: Iterable[WaitingItem]) -> list[Group]:
        by_leader: dict[int, list[WaitingItem]] = {}
        for item in items:
            by_leader.setdefault(item.position if item.leader is None else item.leader, []).append(item)
        return [self._group(members) for members in by_leader.values()]

    def _group(self, members: list[WaitingItem]) -> Group:
        record = self._gate.record
        terms = ItemTerms(self._gate)
        asks = [read_ask(member.ask) for member in members]
        request = asks[0]
        order = Order(
            request=request,
            raw_bytes=members[0].content_bytes,
            project_id=record.project_id,
            job_id=record.id,
            arrived=time.time(),
            forced_at=record.created_at if request.force_refresh else None,
            check_canceled=self._gate.check,
            terms=terms,
        )
        return Group(members, asks, order, terms)

    def _by_batch(self, session: Session, groups: list[Group]) -> list[Group]:
        """What is to be done now, told what the provider's batch interface has to do with it."""
        job_id, sources = self._chunk.job_id, [group.source for group in groups]
        if batch_rows.phase_of(session, job_id) == "prepare":
            done = batch_rows.prepared(session, job_id, sources)
            groups = [group for group in groups if group.source not in done]
            for group in groups:
                group.terms.deferring = True
            return groups
        sent = batch_rows.prepaid(session, job_id, sources)
        for group in groups:
            if (prepaid := sent.get(group.source)) is not None:
                group.terms.calls = 1
                group.terms.answer = prepaid.answer and unpack(prepaid.answer)
                group.answered_text_fp = prepaid.text_fp
        return groups

    # cache hits ----------------------------------------------------------------------------------

    def _without_hits(self, groups: list[Group]) -> list[Group]:
        """Write the rows of all that is in the cache; what is left."""
        asked = [group for group in groups if group.order.forced_at is None and not group.needs_text]
        hits: dict[int, Made] = {}
        for first in range(0, len(asked), PEEKED_AT_ONCE):
            some = asked[first : first + PEEKED_AT_ONCE]
            peek = self._summaries.peek_all([(group.order, group.content_fp) for group in some])
            found = zip(some, self._summaries.run(peek), strict=True)
            hits.update((group.source, made) for group, made in found if made is not None)
        left = [group for group in groups if group.source not in hits]
        if left:  # what is only looked up is not shown as being worked on
            self._dispatcher.show(self._chunk, None, left=self._left)
        for group in asked:
            if group.source in hits:
                self._take((group, hits[group.source]))
        return left

    # the rest ------------------------------------------------------------------------------------

    def _start_all(self, groups: list[Group]) -> Iterator[int]:
        """Render and start all; 1 for each that was started."""
        for batch in _batches(groups):
            with self._sessions() as session:
                packed = bulk_rows.contents(session, self._chunk.job_id, [group.source for group in batch])
            for group in batch:
                if self._gate.canceled and group.terms.answer is None:
                    self._put_back(0.0)
                    continue
                yield self._start(group, packed.pop(group.source))
                if time.monotonic() - self._written_at > FLUSH_EVERY_S:
                    self._write()

    def _start(self, group: Group, packed: bytes) -> int:
        try:
            data: Any = load_json(unpack(packed))
            group.order = replace(group.order, request=replace(group.order.request, data=data))
            group.shown = self._summaries.shown(group.order)
            if group.answered_text_fp not in (None, _text_fp(group.shown)):
                group.terms.answer = None  # its line numbers are those of another text
        except Exception:
            log.exception("item_not_rendered", job_id=self._chunk.job_id)
            self._take((group, InternalError("Something went wrong on our side.", code="internal_error")))
            return 0
        self._summaries.start(self._make(group, group.shown))
        return 1

    async def _make(self, group: Group, shown: ShownText) -> None:
        try:
            async with self._slots:
                group.began = time.monotonic()
                group.terms.check()
                ended: Any = await self._summaries.make(group.order, group.content_fp, shown)
        except TracegistError as error:
            ended = error
        except OverBudget as over:
            ended, group.over_budget = over.error, True
        except (PutBack, Deferred) as later:
            ended = later
        except Canceled:
            ended = PutBack(0.0)
        except Exception:
            log.exception("summary_crashed", job_id=self._chunk.job_id)
            ended = InternalError("Something went wrong on our side.", code="internal_error")
        self._ended.put((group, ended))

    # rows ----------------------------------------------------------------------------------------

    def _next_ended(self) -> Ended:
        while True:
            due_s = self._written_at + FLUSH_EVERY_S - time.monotonic()
            try:
                return self._ended.get(timeout=max(0.01, due_s))
            except Empty:
                self._write()

    def _take(self, ended: Ended) -> None:
        group, outcome = ended
        if isinstance(outcome, PutBack):
            self._put_back(outcome.delay_s)
            return
        if isinstance(outcome, Deferred):
            self._defer(group, outcome)
            return
        if isinstance(outcome, TracegistError):
            explain(outcome, self._chunk.job_id)
        self._unwritten += [
            self._finished(group, place, member, outcome) for place, member in enumerate(group.members)
        ]
        first = 0 if group.over_budget else 1  # the first has been noted where it was made
        self._unnoted += [self._answer(ask, outcome) for ask in group.asks[first:]]
        if len(self._unwritten) >= FLUSH_ITEMS:
            self._write()

    def _answer(self, ask: SummarizationRequest, outcome: Made | TracegistError) -> AnsweredSummary:
        project_id = self._gate.record.project_id
        if isinstance(outcome, TracegistError):
            return not_answered(project_id, ask, outcome.code)
        made = _followed(outcome)
        return answered(project_id, ask, made.generation, made.facts.status, charged=False)

    def _defer(self, group: Group, deferred: Deferred) -> None:
        if group.shown is None:
            raise TypeError("only what was rendered is asked for")
        request = NewRequest(
            group.source,
            deferred.model,
            _text_fp(group.shown),
            deferred.line_bytes,
            deferred.most_usd,
            pack(deferred.body),
        )
        self._deferred.append(request)
        self._left -= len(group.members)

    def _put_back(self, delay_s: float) -> None:
        self._delay_s = max(delay_s, self._delay_s or 0.0)

    def _finished(
        self, group: Group, place: int, member: WaitingItem, outcome: Made | TracegistError
    ) -> FinishedItem:
        """The row of one member; the first of them is charged."""
        calls = 0 if place else group.terms.calls
        duration_ms = (time.monotonic() - group.began) * 1000
        order = replace(group.order, request=replace(group.asks[place], data=group.order.request.data))
        duplicate = member.leader is not None
        try:
            made = self._made(group, order, outcome)
        except TracegistError as error:
            row = error_outcome(error, attempts=calls, duration_ms=duration_ms)
            tokens, cost = _spent(error, first=not place)
            return FinishedItem(
                member.position, error.status, pack(row), False, duplicate, calls, tokens, cost
            )
        if place:
            made = _followed(made)
        body = self._summaries.body(order, made)
        if duplicate:
            metadata: Any = body["metadata"]
            metadata["duplicate_of"] = member.leader
        cached = made.facts.status in ("hit", "stale_hit")
        row = row_outcome(status=200, body=body, cached=cached, attempts=calls, duration_ms=duration_ms)
        tokens = made.generation.usage.total_tokens if made.charged else 0
        cost = made.generation.cost_usd if made.charged else 0.0
        return FinishedItem(member.position, 200, pack(row), cached, duplicate, calls, tokens, cost)

    def _made(self, group: Group, order: Order, outcome: Made | TracegistError) -> Made:
        if isinstance(outcome, Made):
            return outcome
        if group.shown is None:
            raise outcome
        return self._summaries.in_place_of(outcome, order, group.shown)

    def _write(self) -> None:
        """Write the rows that are ready, in one step; then everybody may see them."""
        self._written_at = time.monotonic()
        items, self._unwritten = self._unwritten, []
        answers, self._unnoted = self._unnoted, []
        requests, self._deferred = self._deferred, []
        if requests:
            _patiently(lambda: self._store_requests(requests))
        if not items:
            return
        step = _patiently(lambda: self._stored(items))
        self._left -= len(items)
        self._dispatcher.show(self._chunk, step, left=self._left)
        if step is not None:
            self._summaries.note(answers)
            announce_items(self._dispatcher.events, self._chunk.job_id, [item.position for item in items])

    def _store_requests(self, requests: list[NewRequest]) -> None:
        with self._sessions.begin() as session:
            batch_rows.add_requests(session, self._chunk.job_id, requests)

    def _stored(self, items: list[FinishedItem]) -> Step | None:
        with self._sessions.begin() as session:
            return bulk_steps.finish(session, self._chunk.job_id, items)


def _patiently(write: Callable[[], W]) -> W | None:
    for attempt in Retrying(
        retry=retry_if_exception_type(SQLAlchemyError),
        wait=wait_exponential_jitter(multiplier=0.1, max=2),
        stop=stop_after_delay(DATABASE_PATIENCE_S),
        reraise=True,
    ):
        with attempt:
            return write()
    return None


def _text_fp(shown: ShownText) -> str:
    return text_fp(RENDERER_VERSION, shown.text)


def _batches(groups: list[Group]) -> Iterator[list[Group]]:
    """Groups whose contents are loaded together; one that is large is loaded alone."""
    batch: list[Group] = []
    size = 0
    for group in groups:
        if batch and size + group.members[0].content_bytes > LOADED_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(group)
        size += group.members[0].content_bytes
    if batch:
        yield batch


def _followed(made: Made) -> Made:
    """The same for an item that caused nothing."""
    if made.facts.status not in ("miss", "refresh"):
        return replace(made, charged=False)
    return replace(made, facts=CacheFacts("follower", made.facts.age_s, made.facts.expires_at), charged=False)


def _spent(error: TracegistError, *, first: bool) -> tuple[int, float | None]:
    if first and isinstance(error, LLMError):
        return error.usage.total_tokens, error.cost_usd
    return 0, 0.0
