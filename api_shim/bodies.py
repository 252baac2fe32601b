"""Read a request body: its size, its type, its syntax, in that order; bounded while it is read."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request

from jobs.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

_PARSE_HINT = (
    'The body must be JSON, for example: curl -H "Content-Type: application/json" --data @body.json.'
)


_PIECE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest body as sent, and after gzip."""

    max_bytes: int
    max_decoded_bytes: int


async def read_json_body(request: Request, *, limits: BodyLimits) -> bytes:
    """The bytes of a JSON body after `Content-Encoding`; an empty body counts as `{}`.

    Raises:
        RequestTooLarge: decided from `Content-Length` when there is one, else while reading.
        UnsupportedMediaType: not JSON, or an encoding other than gzip.
        InvalidRequest: gzip that cannot be opened.
    """
    check_declared_length(request, limits.max_bytes)
    encoding = content_encoding(request)
    _check_content_type(request)
    body = await _read(request, limits.max_bytes)
    if encoding == "gzip":
        # In a thread: a small body may open to a very large one, and others have their turn meanwhile.
        body = await asyncio.to_thread(_gunzip, body, limits.max_decoded_bytes)
    return body if body.strip() else b"{}"


async def read_packed(request: Request, *, max_bytes: int) -> tuple[bytes, str]:
    """The bytes of a body of any type as they were sent, and the encoding that its header names.

    Raises:
        RequestTooLarge: decided from `Content-Length` when there is one, else while reading.
        UnsupportedMediaType: an encoding other than gzip.
    """
    check_declared_length(request, max_bytes)
    encoding = content_encoding(request)
    return await _read(request, max_bytes), encoding


def parse_error(reason: str) -> InvalidRequest:
    return InvalidRequest(f"{reason} {_PARSE_HINT}")


def check_declared_length(request: Request, max_bytes: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large(max_bytes)


def content_encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity", ""):
        raise UnsupportedMediaType("Bodies may be sent plain or with Content-Encoding: gzip.")
    return encoding


def _check_content_type(request: Request) -> None:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given not in ("", "application/json"):
        raise UnsupportedMediaType("The body must be sent as application/json.")


async def _read(request: Request, max_bytes: int) -> bytes:
    pieces, size = list[bytes](), 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise too_large(max_bytes)
        pieces.append(piece)
    if size <= _PIECE_BYTES:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)  # which lets go of the interpreter


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    opened = bytearray()
    for piece in gzip_pieces(body):
        opened += piece
        if len(opened) > max_bytes:
            raise too_large(max_bytes)
    return bytes(opened)


def gzip_pieces(body: bytes) -> Iterator[bytes]:
    """What a gzip body opens to; several members after each other are one body, as the format has it.

    Raises:
        InvalidRequest: it cannot be opened, or not to its end.
    """
    # The library's reader takes time in proportion to the body, also for a million members of no content.
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as opened:
        try:
            while piece := opened.read(_PIECE_BYTES):
                yield piece
        except EOFError as error:
            raise InvalidRequest("The gzip body ends too early.") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InvalidRequest("The body is not valid gzip.") from error


def too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {max_bytes:,} bytes.")
