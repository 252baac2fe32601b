"""One step with one batch: send it, look at it, or take in what came of it. Nobody waits for a provider here.

An execution claims the batch first; when it dies, the next one goes on after the claim has run out. Before a
batch is made, that is written down, so whoever comes later first looks for one that nobody noted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from redis.exceptions import RedisError
from sqlalchemy.orm import Session, sessionmaker

from cache.spend import BatchSpend
from jobs.bulk import BulkOptions
from jobs.packing import pack, unpack
from jobs.runs import RunStore
from storage import batches as rows
from storage import bulk as bulk_rows
from storage import ledger
from storage.batches import Batch
from storage.ledger import Booking
from workers.llm import metrics
from workers.llm.batch_client import BatchClient, BatchFault, BatchState
from workers.llm.batch_lines import read_result, request_line
from workers.llm.prices import Price, cost_usd
from workers.llm.responses import read_answer
from workers.summarization.answer import UnusableAnswer, parse_answer

log = structlog.get_logger()

MOST_FAILURES = 5  # to send a batch; then its requests go without one
GIVE_UP_S = 30 * 3600.0  # more than the window: the provider has lost it
CLAIM_S = 15.0  # on top of the time of one request
UPLOAD_BYTES_A_SECOND = 100_000  # the slowest upload that a claim leaves time for
AT_ONCE = 100  # answers that are written in one step
CLOCKS_S = 300.0  # how far the provider's clock may be off

Prices = Callable[[str], Price | None]


class _ClaimLost(Exception):
    """Somebody else has the batch now."""


@dataclass(frozen=True)
class BatchSteps:
    """One for each process. `connect` opens the provider's client, at the first step."""

    connect: Callable[[], BatchClient]
    runs: RunStore
    sessions: sessionmaker[Session]
    spend: BatchSpend
    prices: Prices
    poll_s: float
    attempt_timeout_s: float

    @cached_property
    def _client(self) -> BatchClient:
        return self.connect()

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def step(self, batch_id: str) -> None:
        """Do what is due with the batch, unless somebody else does."""
        with self.sessions.begin() as session:
            batch = rows.claim(
                session, batch_id, token=uuid.uuid4().hex, now=time.time(), seconds=self._claim_s
            )
        if batch is None:
            return
        try:
            self._step(batch)
            failures = 0
        except _ClaimLost:
            return
        except (BatchFault, RedisError) as fault:
            log.warning("batch_step_failed", batch_id=batch.id, reason=str(fault) or type(fault).__name__)
            failures = batch.failures + 1
        with self.sessions.begin() as session:
            due_at = time.time() + self.poll_s
            rows.note(session, batch, failures=failures, due_at=due_at, claimed_until=0.0)

    def _step(self, batch: Batch) -> None:
        wanted = self._wanted(batch)
        if batch.provider_id is not None:
            self._attend(batch, batch.provider_id, wanted=wanted)
            return
        try:
            sent = self._found(batch) or (self._send(batch) if wanted else None)
        except BatchFault as fault:
            if fault.retry and batch.failures + 1 < MOST_FAILURES:
                raise
            if fault.retry and self._perhaps_made(batch):
                raise  # not without knowing: it may be paid for
            sent = None
        if sent is None:
            log.warning("batch_not_sent", job_id=batch.job_id, batch_id=batch.id)
            self._close(batch, was_sent=False, spent_usd=0.0)
            return
        with self.sessions.begin() as session:
            rows.note(session, batch, provider_id=sent)
            rows.forget_requests(session, batch)
        log.info("batch_sent", job_id=batch.job_id, batch_id=batch.id)

    def _wanted(self, batch: Batch) -> bool:
        record = self.runs.get(batch.job_id)
        return record is None or not (record.cancel_requested or record.state.final)

    # sending -------------------------------------------------------------------------------------------

    def _found(self, batch: Batch) -> str | None:
        """The batch at the provider, when an execution made it that could not tell."""
        if not batch.attempts:
            return None
        return self._client.find(batch.id, since=batch.created_at - CLOCKS_S)

    def _perhaps_made(self, batch: Batch) -> bool:
        with self.sessions() as session:
            begun = rows.attempts(session, batch)
        if not begun or time.time() > batch.created_at + GIVE_UP_S:
            return False
        try:
            return self._client.find(batch.id, since=batch.created_at - CLOCKS_S) is not None
        except BatchFault:
            return True

    def _send(self, batch: Batch) -> str | None:
        """The id of the batch at the provider. None: nothing is to be sent."""
        if not self._hold(batch):
            return None
        input_file = batch.input_file or self._upload(batch)
        if not self._wanted(batch):
            return None
        # From here on somebody who takes over has to look for the batch first.
        self._note(batch, attempts=batch.attempts + 1, claimed_until=time.time() + self._claim_s)
        return self._client.create(input_file, name=batch.id)

    def _hold(self, batch: Batch) -> int:
        """Set money aside for as many requests as the caps allow; the others go without a batch."""
        with self.sessions() as session:
            options = BulkOptions(**(bulk_rows.options_of(session, batch.job_id) or {}))
            costs = rows.costs(session, batch)
        if batch.input_file is not None:
            return len(costs)
        held = self.spend.hold(
            batch.id,
            job_id=batch.job_id,
            job_cap_usd=options.max_spend_usd,
            amounts=[most_usd for _, most_usd in costs],
        )
        with self.sessions.begin() as session:
            rows.leave_out(session, batch, [position for position, _ in costs[held:]])
        return min(held, len(costs))

    def _upload(self, batch: Batch) -> str:
        with TemporaryDirectory(prefix="tracegist-batch-") as folder:
            file = Path(folder) / f"{batch.id}.jsonl"
            with file.open("wb") as lines, self.sessions() as session:
                for position, body in rows.requests_of(session, batch):
                    lines.write(request_line(batch.job_id, position, unpack(body)))
            needed_s = self._claim_s + file.stat().st_size / UPLOAD_BYTES_A_SECOND
            self._note(batch, claimed_until=time.time() + needed_s)
            uploaded = self._client.upload(file)
        self._note(batch, input_file=uploaded)
        return uploaded

    # at the provider -----------------------------------------------------------------------------------

    def _attend(self, batch: Batch, provider_id: str, *, wanted: bool) -> None:
        try:
            state = self._client.look(provider_id)
            if state.final:
                self._take_in(batch, state)
            elif not wanted and not batch.canceled:
                self._client.cancel(provider_id)
                self._note(batch, canceled=True)
        except BatchFault as fault:
            if not fault.gone and time.time() < batch.created_at + GIVE_UP_S:
                raise
            log.error("batch_lost", job_id=batch.job_id, batch_id=batch.id)
            self._close(batch, was_sent=True, spent_usd=0.0)

    def _take_in(self, batch: Batch, state: BatchState) -> None:
        """Keep and book all answers; whoever repeats this changes nothing. Then the files can go."""
        spent: dict[int, float] = {}
        for file in state.files:
            lines = self._client.lines(file)
            found = (read_result(line, job_id=batch.job_id) for line in lines)
            answers = (answer for answer in found if answer is not None)
            while some := dict(islice(answers, AT_ONCE)):
                spent |= self._keep(batch, some)
        # After an upload whose outcome nobody saw there may be one more file; the provider removes it.
        self._close(batch, was_sent=True, spent_usd=sum(spent.values()))
        log.info("batch_ended", job_id=batch.job_id, status=state.status, answers=len(spent))
        for file in (*state.files, *([batch.input_file] if batch.input_file else [])):
            self._client.forget(file)

    def _keep(self, batch: Batch, answers: dict[int, bytes]) -> dict[int, float]:
        """What each of them cost."""
        with self.sessions.begin() as session:
            known = rows.belonging(session, batch, answers)
            bookings = {position: self._booking(batch, position, answers[position]) for position in known}
            rows.keep_answers(session, batch, {position: pack(answers[position]) for position in known})
            fresh = [one for one in bookings.values() if ledger.book(session, one)]
            rows.note(session, batch, claimed_until=time.time() + self._claim_s)
        for one in fresh:
            _count(batch.model, one)
        return {position: one.cost_usd or 0.0 for position, one in bookings.items()}

    def _booking(self, batch: Batch, position: int, raw: bytes) -> Booking:
        completion = read_answer(raw, latency_ms=0.0)
        usage = completion.usage
        kept = not completion.refusal and completion.finish_reason not in ("length", "content_filter")
        return Booking(
            call_id=f"{batch.id}:{position}",
            project_id=batch.project_id,
            job_id=batch.job_id,
            model=completion.model or batch.model,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            cost_usd=cost_usd(completion, self.prices(batch.model), batch=True),
            attempt=1,
            kept=kept and _readable(completion.content),
            created_at=datetime.now(UTC),
        )

    # -----------------------------------------------------------------------------------------------------

    def _close(self, batch: Batch, *, was_sent: bool, spent_usd: float) -> None:
        self.spend.settle(batch.id, usd=spent_usd)
        with self.sessions.begin() as session:
            rows.close(session, batch, was_sent=was_sent)

    def _note(self, batch: Batch, **values: object) -> None:
        with self.sessions.begin() as session:
            if not rows.note(session, batch, **values):
                raise _ClaimLost

    @property
    def _claim_s(self) -> float:
        return CLAIM_S + self.attempt_timeout_s


def _readable(content: str | None) -> bool:
    try:
        parse_answer(content)
    except UnusableAnswer:
        return False
    return True


def _count(model: str, booked: Booking) -> None:
    metrics.REQUESTS.labels(model, "paid").inc()
    metrics.TOKENS.labels(model, "input").inc(booked.prompt_tokens)
    metrics.TOKENS.labels(model, "output").inc(booked.completion_tokens)
    metrics.COST.labels(model).inc(booked.cost_usd or 0.0)
    if not booked.kept:
        metrics.PAID_DISCARDED.labels(model).inc()
