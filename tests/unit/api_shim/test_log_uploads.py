"""Uploads become payloads piece by piece, and come out of them as they were."""

from __future__ import annotations

import gzip
import os

import pytest

from api_shim.log_uploads import otlp_form, pack_upload
from jobs.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType
from jobs.log_payloads import MAX_UPLOAD_BYTES, Upload, read_upload
from jobs.packing import unpack

pytestmark = pytest.mark.anyio

RANDOM = os.urandom(3 * 1_048_576)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    "body",
    [
        RANDOM,
        gzip.compress(RANDOM),
        gzip.compress(RANDOM[:100]) + gzip.compress(RANDOM[100:]),
        gzip.compress(RANDOM[:100]) + gzip.compress(b"") + gzip.compress(RANDOM[100:]) + b"\0\0\0",
    ],
    ids=["plain", "gzip", "members", "padded"],
)
async def test_body_reaches_the_worker_unpacked(body: bytes) -> None:
    payload = await pack_upload("ndjson", body, strict=True)

    assert read_upload(unpack(payload)) == Upload("ndjson", RANDOM, strict=True)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(RANDOM)[:-1], gzip.compress(b"x") + b"x", b"\x1f\x8b" + RANDOM[:100], b"\x1f\x8b"],
    ids=["short", "junk after", "junk inside", "magic only"],
)
async def test_broken_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await pack_upload("ndjson", body)


async def test_limit_is_that_of_the_unpacked_body() -> None:
    most = gzip.compress(b" " * MAX_UPLOAD_BYTES)

    await pack_upload("ndjson", most)

    with pytest.raises(RequestTooLarge):
        await pack_upload("ndjson", most + gzip.compress(b" "))


@pytest.mark.parametrize(
    ("media_type", "body", "form"),
    [
        ("application/x-protobuf", b"{}", "otlp_protobuf"),
        ("application/json", b"\x0a", "otlp_json"),
        ("", b"\r\n {}", "otlp_json"),
        ("", gzip.compress(b" {}"), "otlp_json"),
        ("", gzip.compress(b"\x0a"), "otlp_protobuf"),
        ("", b"\x1f\x8bbroken", "otlp_protobuf"),
        ("", b"", "otlp_protobuf"),
    ],
)
def test_form_is_that_of_the_type_or_of_the_first_byte(media_type: str, body: bytes, form: str) -> None:
    assert otlp_form(media_type, body) == form


def test_other_types_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        otlp_form("text/plain", b"{}")
