from __future__ import annotations

from typing import get_type_hints

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.routing import Match

from api_shim.app import create_app
from api_shim.direct import DirectRoutes
from config.settings import Settings


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings())


@pytest.fixture(scope="module")
def direct(app: FastAPI) -> DirectRoutes:
    (found,) = (route for route in app.routes if isinstance(route, DirectRoutes))
    return found


def test_direct_endpoint_is_the_one_that_the_framework_finds(app: FastAPI, direct: DirectRoutes) -> None:
    framework = [route for route in iter_route_contexts(app.routes) if route.original_route is not direct]

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
def test_project_is_read_from_the_address(direct: DirectRoutes, kind: str) -> None:
    match, inner = direct.matches({"method": "POST", "path": f"/api/{kind}/07x/logs/count/"})

    assert match is Match.FULL
    assert inner["path_params"] == {"project_id": "07x"}


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
def test_all_else_is_left_to_the_framework(direct: DirectRoutes, method: str, path: str) -> None:
    assert direct.matches({"method": method, "path": path})[0] is Match.NONE
