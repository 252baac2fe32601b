"""Calls from pages: what a browser asks first, and what it is told."""

from __future__ import annotations

import json

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from api_shim.cors import Cors

OURS = "https://console.example"


async def no_app(*_: object) -> None:
    raise AssertionError("a preflight does not reach the routes")


def preflight(origin: str, method: str = "POST") -> Response:
    cors = Cors(no_app, allow_origins=[OURS], allow_methods=["*"], allow_headers=["*"])
    asked = {"origin": origin, "access-control-request-method": method}
    return cors.preflight_response(Headers({**asked, "access-control-request-headers": "authorization"}))


def test_named_origin_may_call_with_a_key() -> None:
    answer = preflight(OURS)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == OURS
    assert answer.headers["access-control-allow-headers"] == "authorization"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{OURS}.evil.example"])
def test_refused_preflight_has_the_error_body(origin: str) -> None:
    answer = preflight(origin)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert list(json.loads(bytes(answer.body))) == ["type", "code", "detail", "attr"]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"
