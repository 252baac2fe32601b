from __future__ import annotations

from typing import get_type_hints

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import OperationalError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_shim.app import create_app
from api_shim.direct import DirectRoutes
from config.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings())


@pytest.fixture(scope="module")
def direct(app: FastAPI) -> DirectRoutes:
    return _direct(app, _nothing)


def test_direct_endpoint_is_the_one_that_the_framework_finds(app: FastAPI, direct: DirectRoutes) -> None:
    framework = list(iter_route_contexts(app.routes))

    assert len(direct.endpoints) > 20
    for (method, kind, rest), endpoint in direct.endpoints.items():
        path = f"/api/{kind}/7/{rest}"
        first = next(
            route for route in framework if route.path_regex.match(path) and method in (route.methods or ())
        )
        assert first.endpoint is endpoint, path


def test_direct_endpoints_answer_with_responses(direct: DirectRoutes) -> None:
    for endpoint in direct.endpoints.values():
        assert issubclass(get_type_hints(endpoint)["return"], Response)


@pytest.mark.parametrize("kind", ["environments", "projects"])
async def test_project_is_read_from_the_address(app: FastAPI, kind: str) -> None:
    asked: list[str] = []

    async def endpoint(request: Request) -> Response:
        asked.append(request.path_params["project_id"])
        return Response()

    direct = _direct(app, _nothing)
    direct.endpoints["POST", kind, "logs/count/"] = endpoint
    await direct(_scope("POST", f"/api/{kind}/07x/logs/count/"), _no_body, _ignore)

    assert asked == ["07x"]


async def test_error_of_an_endpoint_is_answered_by_its_handler(app: FastAPI) -> None:
    async def endpoint(request: Request) -> Response:
        raise OperationalError("", None, Exception())

    direct = _direct(app, _nothing)
    direct.endpoints["POST", "environments", "logs/count/"] = endpoint
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    await direct(_scope("POST", "/api/environments/7/logs/count/"), _no_body, keep)

    assert sent[0]["status"] == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/environments/7/logs/count/"),
        ("POST", "/api/environments/7/logs/count"),
        ("POST", "/api/environments/7/logs/count//"),
        ("POST", "/api/environments//logs/count/"),
        ("POST", "/api/environments/7/8/logs/count/"),
        ("POST", "/apis/environments/7/logs/count/"),
        ("POST", "/api/others/7/logs/count/"),
        ("GET", "/api/environments/7/"),
        ("GET", "/"),
    ],
)
async def test_all_else_is_left_to_the_framework(app: FastAPI, method: str, path: str) -> None:
    passed_on: list[str] = []

    async def framework(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed_on.append(scope["path"])

    await _direct(app, framework)(_scope(method, path), _no_body, _ignore)

    assert passed_on == [path]


def _direct(app: FastAPI, inner: ASGIApp) -> DirectRoutes:
    (layer,) = (layer for layer in app.user_middleware if layer.cls is DirectRoutes)
    return DirectRoutes(inner, **layer.kwargs)


def _scope(method: str, path: str) -> Scope:
    state = {"request_id": "request-1"}
    return {"type": "http", "method": method, "path": path, "headers": [], "state": state}


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("not asked")


async def _no_body() -> Message:
    return {"type": "http.request"}


async def _ignore(_message: Message) -> None:
    pass
