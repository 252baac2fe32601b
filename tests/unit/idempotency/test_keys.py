"""Which values of `Idempotency-Key` are keys."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api_shim.idempotency import digest_of, idempotency_key_of
from jobs.errors import InvalidRequest


def _request(*values: str) -> Request:
    headers = [(b"idempotency-key", value.encode("latin-1")) for value in values]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("a", "a"),
        ("x" * 255, "x" * 255),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"' + "x" * 255 + '"', "x" * 255),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        (" padded ", "padded"),
        ("!#$%&'()*+,-./:;<=>?@[]^_`{|}~", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"),
    ],
)
def test_visible_characters_are_a_key(value: str, key: str) -> None:
    assert idempotency_key_of(_request(value)) == key


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        '""',
        "x" * 256,
        '"' + "x" * 256 + '"',
        "two words",
        '"two words"',
        '"open',
        '"a"b"',
        "\x7f",
        "ä",
        "a\tb",
    ],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        idempotency_key_of(_request(value))

    assert refused.value.code == "invalid_idempotency_key"


def test_two_keys_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        idempotency_key_of(_request("a", "b"))


def test_no_key_is_no_error() -> None:
    assert idempotency_key_of(_request()) is None


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_digest_is_the_same_wherever_it_is_computed(size: int) -> None:
    import asyncio
    import hashlib

    raw = b"x" * size

    assert asyncio.run(digest_of(raw)) == hashlib.sha256(raw).hexdigest()
