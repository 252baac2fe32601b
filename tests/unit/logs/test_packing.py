"""gzip bodies: bounded, whole or refused."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from jobs.errors import InvalidRequest, RequestTooLarge
from workers.logs.packing import unpack

TEXT = b"line of text\n" * 10_000


@pytest.mark.parametrize("body", [b"", b"{}", TEXT, b"\x1f", b"\x1f\x8c"])
def test_what_is_not_packed_stays_as_it_is(body: bytes) -> None:
    assert unpack(body, limit=len(TEXT)) == body


def test_a_stream_is_unpacked_by_its_first_bytes() -> None:
    assert unpack(gzip.compress(TEXT), limit=len(TEXT)) == TEXT


def test_a_stream_of_several_members() -> None:
    packed = gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(TEXT)

    assert unpack(packed, limit=len(TEXT) + 1) == b"a" + TEXT


def test_an_empty_stream() -> None:
    assert unpack(gzip.compress(b""), limit=1) == b""


@pytest.mark.parametrize("body", [TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:-2]) + gzip.compress(b"xx")])
def test_a_byte_more_than_the_limit_is_too_large(body: bytes) -> None:
    assert len(unpack(body, limit=len(TEXT))) == len(TEXT)
    with pytest.raises(RequestTooLarge):
        unpack(body, limit=len(TEXT) - 1)


def test_a_bomb_costs_no_memory() -> None:
    bomb = gzip.compress(bytes(200 << 20), compresslevel=1)

    tracemalloc.start()
    with pytest.raises(RequestTooLarge):
        unpack(bomb, limit=4 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 << 20


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT)[:20],
        b"\x1f\x8b",
        b"\x1f\x8b\x08garbage garbage",
        gzip.compress(TEXT)[:-8] + b"\0" * 8,
        gzip.compress(TEXT) + b"trailing",
    ],
)
def test_a_broken_stream_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        unpack(body, limit=1 << 24)
