"""Read an uploaded body of logs and pack it for the worker, without ever holding it unpacked.

A gzip body goes through in pieces: out of gzip, counted, into the compression of the job store. So a small
bomb costs no memory: it is refused as soon as the count passes the limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

import zstandard
from starlette.requests import Request

from api_shim.bodies import gzip_pieces, read_packed
from api_shim.preparation import INLINE_BYTES
from jobs.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType
from jobs.log_payloads import MAX_PACKED_BYTES, MAX_UPLOAD_BYTES, UploadForm, upload_head

_GZIP = b"\x1f\x8b"
_PIECE = 1_048_576
_FIRST = 4096


async def read_upload_body(request: Request) -> bytes:
    """The body as sent, with gzip still on it.

    Raises:
        RequestTooLarge: more than 20 MiB as sent.
        UnsupportedMediaType: an encoding other than gzip.
        InvalidRequest: said to be gzip, and is not.
    """
    body, encoding = await read_packed(request, max_bytes=MAX_PACKED_BYTES)
    if encoding == "gzip" and body and not body.startswith(_GZIP):
        raise InvalidRequest("The body is not valid gzip.")
    return body


def media_type_of(request: Request) -> str:
    """The type that the request names, without parameters, in lower case; "" when it names none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def otlp_form(media_type: str, body: bytes) -> UploadForm:
    """Which of the two forms of OTLP a body has; without a type its first byte tells."""
    if media_type == "application/x-protobuf":
        return "otlp_protobuf"
    if media_type == "application/json":
        return "otlp_json"
    if media_type:
        raise UnsupportedMediaType("Logs are sent as application/x-protobuf or application/json.")
    return "otlp_json" if _first_of(body).lstrip().startswith(b"{") else "otlp_protobuf"


async def pack_upload(form: UploadForm, body: bytes, *, strict: bool = False) -> bytes:
    """The payload of the job.

    Raises:
        RequestTooLarge: more than 64 MiB unpacked.
        InvalidRequest: broken gzip.
    """
    if len(body) <= INLINE_BYTES and not body.startswith(_GZIP):
        return _packed(form, body, strict)
    return await asyncio.to_thread(_packed, form, body, strict)


def _packed(form: UploadForm, body: bytes, strict: bool) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    parts = [packer.compress(upload_head(form, strict=strict))]
    size = 0
    for piece in _opened(body):
        size += len(piece)
        if size > MAX_UPLOAD_BYTES:
            raise RequestTooLarge(f"The body is larger than {MAX_UPLOAD_BYTES:,} bytes unpacked.")
        parts.append(packer.compress(piece))
    parts.append(packer.flush())
    return b"".join(parts)


def _first_of(body: bytes) -> bytes:
    """Where the unpacked body begins; nothing when it cannot be opened, which is told later."""
    if not body.startswith(_GZIP):
        return body[:_FIRST]
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(body, _FIRST)
    except zlib.error:
        return b""


def _opened(body: bytes) -> Iterator[bytes]:
    """The body in pieces, out of gzip when it begins like gzip."""
    if body.startswith(_GZIP):
        yield from gzip_pieces(body)
        return
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
