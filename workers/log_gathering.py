"""Store small uploads together, as one block: the log store takes few inserts a second, of any size.

An upload that comes alone is stored at once. Those that come while a block is written, or within `PACE_S` of
it, share the next one. A block is written down in the database before its insert, under the token of the
insert, so that after a crash it is repeated as it was: the log store drops what it has.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog
import zstandard
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import TimedOut, Unavailable
from jobs.json_text import dump_json, load_json
from jobs.log_payloads import read_upload
from storage import log_uploads
from workers.logs.batches import Batch
from workers.logs.errors import StoreBusy
from workers.logs.instants import instant_of, micros_of
from workers.logs.records import Row
from workers.logs.uploads import parse_upload

log = structlog.get_logger()

PACE_S: Final = 0.05
MAX_BYTES: Final = 65_536
MAX_ROWS: Final = 1000
RETRY_AFTER_S: Final = 2
MAY_BE_STORED: Final = (Unavailable, TimedOut)  # errors after which nobody knows


@dataclass(frozen=True, slots=True)
class Part:
    """One upload: its payload as it crossed the queue, when it was received, and its rows."""

    project_id: int
    payload: bytes
    received_at: datetime
    batch: Batch
    rows: Sequence[Row]

    @classmethod
    def of(cls, project_id: int, payload: bytes, received_at: datetime) -> Part:
        upload = read_upload(payload)
        rows = parse_upload(upload, received_at=received_at).rows
        return cls(project_id, payload, received_at, Batch.of(project_id, upload.body), rows)


Insert = Callable[[str, Sequence[Part]], None]


@dataclass(slots=True)
class _Waiting:
    part: Part
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self.over.set()


class Gatherer:
    """One for all threads of a process; several processes may work on one log store."""

    def __init__(self, sessions: sessionmaker[Session], insert: Insert, *, pace_s: float = PACE_S) -> None:
        """`insert`: store the parts as one block with this token; it may be repeated."""
        self._sessions = sessions
        self._insert = insert
        self._pace_s = pace_s
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._led = False
        self._turn = threading.Lock()
        self._next_at = 0.0

    def store(self, part: Part) -> None:
        """Returns when the upload is stored, by whomever.

        Raises:
            TracegistError: it is not known to be; it may be sent again.
        """
        mine = _Waiting(part)
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
        if leads:
            self._store_waiting()
        mine.over.wait()
        if mine.error is not None:
            raise mine.error

    def finish_all(self) -> None:
        """Store what a process left behind that died between the note and the insert."""
        with _database(), self._sessions() as session:
            left = log_uploads.unstored(session)
        for gathering in left:
            self._finish(gathering)
        if left:
            log.info("log_gatherings_finished", gatherings=len(left))

    def _store_waiting(self) -> None:
        """Wait for the block before, then store whatever came until then."""
        with self._turn:
            time.sleep(max(0.0, self._next_at - time.monotonic()))
            self._next_at = time.monotonic() + self._pace_s
            with self._lock:
                group, self._waiting, self._led = self._waiting, [], False
            failure = self._failure_of(group)
            if failure is None or isinstance(failure, MAY_BE_STORED):
                for waiting in group:
                    waiting.end(failure)
                return
            for waiting in group:  # one of them cannot be stored: the others must not suffer
                waiting.end(self._failure_of([waiting]))

    def _failure_of(self, group: Sequence[_Waiting]) -> BaseException | None:
        try:
            self._store_together([waiting.part for waiting in group])
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that waits
            return failure
        return None

    def _store_together(self, parts: Sequence[Part]) -> None:
        gathering, now = uuid.uuid4().hex, datetime.now(UTC)
        by_digest = {part.batch.digest: part for part in parts}
        with _database(), self._sessions.begin() as session:
            mine = log_uploads.claim(session, gathering, by_digest, now=now)
            fresh = [part for digest, part in by_digest.items() if digest in mine]
            if fresh:
                log_uploads.write_down(session, gathering, pack_parts(fresh), now=now)
            others = log_uploads.on_their_way(session, by_digest.keys() - mine)
        for other in others:  # their insert broke off, or runs now in another process
            self._finish(other)
        if fresh:
            self._insert_noted(gathering, fresh)

    def _finish(self, gathering: str) -> None:
        with _database(), self._sessions() as session:
            content = log_uploads.content_of(session, gathering)
        if content is not None:
            self._insert_noted(gathering, unpack_parts(content))

    def _insert_noted(self, gathering: str, parts: Sequence[Part]) -> None:
        try:
            self._insert(gathering, parts)
        except MAY_BE_STORED:
            raise  # the note stays, to be repeated as it is
        except Exception:
            with _database(), self._sessions.begin() as session:
                log_uploads.give_up(session, gathering)
            raise
        with _database(), self._sessions.begin() as session:
            log_uploads.note_stored(session, gathering)


def pack_parts(parts: Sequence[Part]) -> bytes:
    """All that it takes to make the same block again."""
    heads = [[part.project_id, micros_of(part.received_at), len(part.payload)] for part in parts]
    plain = b"".join([dump_json(heads), b"\n", *(part.payload for part in parts)])
    return zstandard.ZstdCompressor(level=1).compress(plain)


def unpack_parts(content: bytes) -> list[Part]:
    head, _, rest = zstandard.ZstdDecompressor().decompress(content).partition(b"\n")
    parts, start = [], 0
    for project_id, received, size in load_json(head):  # type: ignore[attr-defined]  # of `pack_parts`
        parts.append(Part.of(project_id, rest[start : start + size], instant_of(received)))
        start += size
    return parts


@contextmanager
def _database() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        log.warning("log_uploads_not_noted", reason=type(error).__name__)
        raise StoreBusy(
            "The log store is busy; send the same body again.", retry_after_s=RETRY_AFTER_S
        ) from error
