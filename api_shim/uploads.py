"""Read a large body piece by piece: bounded as sent and after gzip, never held as a whole."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request

from api_shim.bodies import check_declared_length, content_encoding, too_large
from jobs.errors import InvalidRequest, UnsupportedMediaType

PIECE_BYTES = 262_144

NDJSON = "application/x-ndjson"
JSON = "application/json"
# With the blank lines after it, skipped in one go: a small gzip body may open to millions of them.
_LINE_ENDS = re.compile(rb"\n\s*")


def upload_type(request: Request) -> str:
    """The type of a body that is either one JSON document or a line for each item.

    Raises:
        UnsupportedMediaType: neither of them.
    """
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given not in ("", JSON, NDJSON):
        error = UnsupportedMediaType(f"The body must be sent as {NDJSON} or {JSON}.")
        error.headers["Accept-Post"] = f"{NDJSON}, {JSON}"
        raise error
    return given or JSON


async def read_pieces(request: Request, *, max_bytes: int) -> AsyncIterator[bytes]:
    """The body after `Content-Encoding`, in pieces of at most `PIECE_BYTES` when it was compressed.

    Raises:
        RequestTooLarge: decided from `Content-Length` when there is one, else while reading.
        UnsupportedMediaType: an encoding other than gzip.
        InvalidRequest: gzip that cannot be opened, or that ends too early.
    """
    check_declared_length(request, max_bytes)
    opener = Gunzip() if content_encoding(request) == "gzip" else None
    sent = opened = 0
    async for received in request.stream():
        sent += len(received)
        if sent > max_bytes:
            raise too_large(max_bytes)
        if opener is None:
            yield received
            continue
        for piece in opener.open(received):
            opened += len(piece)
            if opened > max_bytes:
                raise too_large(max_bytes)
            yield piece
            await asyncio.sleep(0)  # a small body may open to a very large one; others have their turn
    if opener is not None:
        opener.end()


class Gunzip:
    """Opens gzip in pieces; several members after each other are one body, as the format has it."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._begun = False

    def open(self, received: bytes) -> Iterator[bytes]:
        rest = received
        while rest:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            self._begun = True
            try:
                piece = self._member.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise InvalidRequest("The body is not valid gzip.") from error
            if piece:
                yield piece
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if not rest and len(piece) == PIECE_BYTES and not self._member.eof:
                yield from self._rest()

    def end(self) -> None:
        if self._begun and not self._member.eof:
            raise InvalidRequest("The gzip body ends too early.")

    def _rest(self) -> Iterator[bytes]:
        """What the last piece was too small for, although all that was received is used up."""
        while piece := self._member.decompress(b"", PIECE_BYTES):
            yield piece


class Lines:
    """Splits pieces at line ends. A line above `max_bytes` comes out as None: it is an item that failed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes | None]:
        """The lines that end in this piece; blank ones are left out."""
        *ended, rest = _LINE_ENDS.split(piece)
        for part in ended:
            self._add(part)
            yield from self.end()
        self._add(rest)

    def end(self) -> Iterator[bytes | None]:
        """The line as far as it has come."""
        size, line = self._size, b"".join(self._parts)
        self._parts, self._size = [], 0
        if size > self._max_bytes:
            yield None
        elif line.strip():
            yield line

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._parts.append(part)
        else:
            self._parts.clear()
