"""The rows of a bulk job as they go out: streamed by index, followed by completion, or in pages."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from fastapi import Request
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import StreamingResponse

from api_shim.uploads import NDJSON
from jobs.bulk import CANCELED_OUTCOME, row_line
from jobs.errors import ValidationFailed
from jobs.packing import unpack
from storage import bulk as bulk_rows
from storage.bulk import BulkRow, Only

ROWS_AT_ONCE = 100
ONLY = ("failed", "succeeded", "canceled")


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """`after`: only rows with a higher index."""

    after: int = -1
    only: Only | None = None
    follow: bool = False

    @classmethod
    def of(cls, request: Request) -> RowsAsked:
        """What the query asks for.

        Raises:
            ValidationFailed: an index that is none, or an unknown choice.
        """
        query = request.query_params
        only = query.get("only") or None
        if only is not None and only not in ONLY:
            raise ValidationFailed(f"Choose from: {', '.join(ONLY)}.", attr="only", code="invalid_choice")
        follow = query.get("follow", "false").lower()
        if follow not in ("true", "false", "1", "0", ""):
            raise ValidationFailed("Must be a valid boolean.", attr="follow")
        return cls(_index(query.get("after", "")), cast("Only | None", only), follow in ("true", "1"))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one job. `ended`: those that are missing never come, they were canceled."""

    sessions: sessionmaker[Session]
    job_id: str
    asked: RowsAsked
    ended: bool

    async def by_index(self) -> AsyncIterator[bytes]:
        after = self.asked.after
        while batch := await asyncio.to_thread(self._after, after):
            yield _lines(batch)
            after = batch[-1].position

    async def by_completion(self, look: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """Rows as they are finished, then those that were canceled. `look` waits; true: the job has ended."""
        step, position, ended = -1, -1, self.ended
        while True:
            while batch := await asyncio.to_thread(self._later, step, position):
                yield _lines(batch)
                step, position = batch[-1].step or 0, batch[-1].position
            if ended:
                break
            ended = await look()
        if self.asked.only in (None, "canceled"):
            async for missing in self._missing():
                yield missing

    def page(self, *, limit: int, offset: int) -> tuple[int, Iterator[bytes]]:
        """The number of rows, and the JSON of some of them."""
        with self.sessions() as session:
            count, found = bulk_rows.page(
                session,
                self.job_id,
                after=self.asked.after,
                only=self.asked.only,
                unfinished=self.ended,
                limit=limit,
                offset=offset,
            )
        return count, map(_line, found)

    async def _missing(self) -> AsyncIterator[bytes]:
        canceled = replace(self, asked=replace(self.asked, only="canceled"), ended=True)
        async for lines in canceled.by_index():
            yield lines

    def _after(self, after: int) -> list[BulkRow]:
        with self.sessions() as session:
            return bulk_rows.rows(
                session,
                self.job_id,
                after=after,
                only=self.asked.only,
                unfinished=self.ended,
                limit=ROWS_AT_ONCE,
            )

    def _later(self, step: int, position: int) -> list[BulkRow]:
        with self.sessions() as session:
            return bulk_rows.rows_by_completion(
                session,
                self.job_id,
                step=step,
                position=position,
                after=self.asked.after,
                only=self.asked.only,
                limit=ROWS_AT_ONCE,
            )


def lines_at(sessions: sessionmaker[Session], job_id: str, positions: Sequence[int]) -> dict[int, bytes]:
    """The rows of items whose end was told, each as its line: one that is not finished was canceled."""
    with sessions() as session:
        return {row.position: _line(row) for row in bulk_rows.rows_at(session, job_id, positions)}


def stream_response(request: Request, lines: AsyncIterator[bytes]) -> StreamingResponse:
    """Lines as they come, compressed for callers that take gzip."""
    headers = {"Vary": "Accept, Accept-Encoding", "X-Accel-Buffering": "no"}
    if not _takes_gzip(request):
        return StreamingResponse(lines, headers=headers, media_type=NDJSON)
    headers["Content-Encoding"] = "gzip"
    return StreamingResponse(_gzipped(lines), headers=headers, media_type=NDJSON)


def wants_page(request: Request) -> bool:
    """Whether the caller prefers one JSON document."""
    accept = request.headers.get("accept", "").lower()
    return "application/json" in accept and NDJSON not in accept


def _lines(rows: list[BulkRow]) -> bytes:
    return b"".join(_line(row) + b"\n" for row in rows)


def _line(row: BulkRow) -> bytes:
    outcome = CANCELED_OUTCOME if row.outcome is None else unpack(row.outcome)
    return row_line(row.position, row.custom_id, outcome)


async def _gzipped(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each piece is flushed, or a follower would wait for rows that are there. No time stamp: same bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    async for piece in lines:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _takes_gzip(request: Request) -> bool:
    for given in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameters = given.partition(";")
        if name.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _index(text: str) -> int:
    if text == "":
        return -1
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise ValidationFailed("A valid integer is required.", attr="after")
    return max(-1, min(int(text[:12]), 2**31 - 2))
