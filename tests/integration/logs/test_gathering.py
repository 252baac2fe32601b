"""Small uploads share a block, and each is stored once whatever breaks off on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import TracegistError
from jobs.log_payloads import upload_head
from storage import log_uploads
from storage.migrations import upgrade
from storage.session import make_engine, make_sessions
from tests.integration.logs.rows import counts, read
from workers.log_gathering import Gatherer, Part, pack_parts, unpack_parts
from workers.logs.errors import StoreBusy, StoreFault
from workers.logs.statement import Statement
from workers.logs.store import LogStore

Sessions = sessionmaker[Session]
Blocks = list[list[str]]


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    url = f"sqlite:///{tmp_path / 'tracegist.db'}"
    upgrade(url)
    return make_sessions(make_engine(url))


def part(project: int, *bodies: str, received_at: datetime | None = None) -> Part:
    """An upload of these records."""
    lines = "\n".join(json.dumps({"body": body, "service_name": "api"}) for body in bodies)
    payload = upload_head("ndjson", strict=False) + lines.encode()
    return Part.of(project, payload, received_at or datetime.now(UTC))


def into(store: LogStore, blocks: Blocks) -> Callable[[str, Sequence[Part]], None]:
    """Inserts, and what each held."""

    def insert(token: str, parts: Sequence[Part]) -> None:
        blocks.append([row[4] for each in parts for row in each.rows])
        store.insert_gathered(token, [(each.project_id, each.batch, each.rows) for each in parts])

    return insert


def bodies(store: LogStore, project: int) -> list[object]:
    return sorted(str(row[0]) for row in read(store, project, Statement("logs", "body")))


def test_uploads_that_come_together_share_few_blocks(
    store: LogStore, project: int, sessions: Sessions
) -> None:
    blocks: Blocks = []
    gatherer = Gatherer(sessions, into(store, blocks))
    parts = [part(project, f"{number} a", f"{number} b") for number in range(40)]

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(gatherer.store, parts))

    raw, rolled_up = counts(store, project)
    assert bodies(store, project) == sorted(f"{number} {name}" for number in range(40) for name in "ab")
    assert raw == rolled_up
    assert len(blocks) < 20


def test_ids_do_not_depend_on_the_company(embedded_store: LogStore, project: int, sessions: Sessions) -> None:
    one = part(project, "x", "y", received_at=datetime(2026, 3, 1, tzinfo=UTC))
    embedded_store.insert(project + 1_000_000, one.batch, one.rows)
    Gatherer(sessions, into(embedded_store, [])).store(one)

    ids = Statement("logs", "toString(uuid)", tail="ORDER BY ALL")
    assert read(embedded_store, project, ids) == read(embedded_store, project + 1_000_000, ids)


def test_an_upload_is_stored_once_however_often_and_whenever_it_comes(
    store: LogStore, project: int, sessions: Sessions
) -> None:
    blocks: Blocks = []
    gatherer, other_process = (Gatherer(sessions, into(store, blocks)) for _ in range(2))
    same = [part(project, "once", "once") for _ in range(12)]

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda place: (gatherer, other_process)[place % 2].store(same[place]), range(12)))
    gatherer.store(part(project, "once", "once"))
    gatherer.store(part(project, "once"))

    assert bodies(store, project) == ["once"] * 3
    assert counts(store, project)[0] == counts(store, project)[1]


@pytest.mark.parametrize("stored", [False, True])
def test_a_block_whose_process_died_is_repeated_as_it_was(
    store: LogStore, project: int, sessions: Sessions, stored: bool
) -> None:
    """It died after the note: before the insert, or after it."""
    blocks: Blocks = []

    class Died(BaseException):
        pass

    def die(token: str, parts: Sequence[Part]) -> None:
        if stored:
            into(store, blocks)(token, parts)
        raise Died

    with pytest.raises(Died):
        Gatherer(sessions, die).store(part(project, "a", "b"))

    restarted = Gatherer(sessions, into(store, blocks))
    restarted.finish_all()
    restarted.store(part(project, "a", "b"))
    restarted.finish_all()

    assert bodies(store, project) == ["a", "b"]
    assert counts(store, project)[0] == counts(store, project)[1]


def test_who_sends_again_finishes_what_broke_off(store: LogStore, project: int, sessions: Sessions) -> None:
    blocks: Blocks = []

    def busy(token: str, parts: Sequence[Part]) -> None:
        raise StoreBusy("The log store is busy.", retry_after_s=5)

    with pytest.raises(StoreBusy):
        Gatherer(sessions, busy).store(part(project, "a"))
    gatherer = Gatherer(sessions, into(store, blocks))
    gatherer.store(part(project, "a"))

    assert bodies(store, project) == ["a"]
    assert blocks == [["a"]]


def test_an_upload_that_cannot_be_stored_harms_no_other(
    store: LogStore, project: int, sessions: Sessions
) -> None:
    blocks: Blocks = []
    first_in, others_wait = threading.Event(), threading.Event()

    def insert(token: str, parts: Sequence[Part]) -> None:
        names = [row[4] for each in parts for row in each.rows]
        if names == ["first"]:
            first_in.set()
            assert others_wait.wait(20)
        if "poison" in names:
            raise StoreFault("The log store could not run the query.")
        into(store, blocks)(token, parts)

    gatherer = Gatherer(sessions, insert)

    def outcome(name: str) -> str:
        try:
            gatherer.store(part(project, name))
        except TracegistError as error:
            return error.code
        return "stored"

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(outcome, "first")
        assert first_in.wait(20)
        others = [threads.submit(outcome, name) for name in ("a", "poison", "b")]
        while len(gatherer._waiting) < 3:
            pass
        others_wait.set()
        told = [future.result() for future in (first, *others)]

    assert told == ["stored", "stored", "error", "stored"]
    assert bodies(store, project) == ["a", "b", "first"]
    assert outcome("poison") == "error"


def test_a_database_that_is_away_is_a_busy_store(project: int, tmp_path: Path) -> None:
    empty = make_sessions(make_engine(f"sqlite:///{tmp_path / 'empty.db'}"))

    with pytest.raises(StoreBusy):
        Gatherer(empty, lambda token, parts: None).store(part(project, "a"))


def test_uploads_are_forgotten_after_their_time(project: int, sessions: Sessions) -> None:
    inserted: Blocks = []
    gatherer = Gatherer(sessions, lambda token, parts: inserted.append([token]))
    gatherer.store(part(project, "a"))
    gatherer.store(part(project, "a"))

    with sessions.begin() as session:
        log_uploads.remove_older_than(session, datetime.now(UTC) + timedelta(seconds=1))
    gatherer.store(part(project, "a"))

    assert len(inserted) == 2
    assert timedelta(hours=1) <= log_uploads.KEPT


def test_parts_are_read_back_as_they_were() -> None:
    parts = [part(number, "a", "ü\n", received_at=datetime(2026, 3, number, tzinfo=UTC)) for number in (1, 2)]

    assert unpack_parts(pack_parts(parts)) == parts
