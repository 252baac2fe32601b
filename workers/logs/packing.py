"""Unpack request bodies, never further than the limit."""

from __future__ import annotations

import zlib
from typing import Final

from jobs.errors import InvalidRequest, RequestTooLarge

_MAGIC: Final = b"\x1f\x8b"
_STEP: Final = 1 << 20


def unpack(body: bytes, *, limit: int) -> bytes:
    """The body itself, or what its gzip stream holds; the first bytes tell which.

    Raises:
        InvalidRequest: a gzip stream that is broken or cut off.
        RequestTooLarge: more than `limit` bytes.
    """
    if not body.startswith(_MAGIC):
        return _bounded(body, limit)
    parts: list[bytes] = []
    left = limit + 1
    rest = body
    while rest:
        stream = zlib.decompressobj(wbits=31)
        rest, left = _member(stream, rest, parts, left)
    return b"".join(parts)


def _member(stream: zlib._Decompress, packed: bytes, parts: list[bytes], left: int) -> tuple[bytes, int]:
    """Unpack one member of the stream; returns what follows it and how many bytes may still come."""
    try:
        while not stream.eof:
            part = stream.decompress(packed, min(left, _STEP))
            left -= len(part)
            if left <= 0:
                raise RequestTooLarge("The unpacked body is too large.")
            parts.append(part)
            packed = stream.unconsumed_tail
            if not part and not packed and not stream.eof:
                raise InvalidRequest("The gzip stream of the body is cut off.")
    except zlib.error:
        raise InvalidRequest("The gzip stream of the body is broken.") from None
    return stream.unused_data, left


def _bounded(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise RequestTooLarge("The body is too large.")
    return body
