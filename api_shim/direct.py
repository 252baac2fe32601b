"""Find and call endpoints that need nothing but the request, without the framework's search and solving.

Most addresses of the API have no parameter but the project, and their endpoints read everything else from the
request themselves. The framework tries the routers one by one, each of them twice, and then prepares for
dependencies that there are not: together more than the look into the cache that answers most calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable

from fastapi.routing import APIRoute, RouteContext
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]
# Method, and the address without the project.
Place = tuple[str, str, str]

PROJECT = "{project_id}"


class DirectRoutes(BaseRoute):
    """Stands before all other routes and takes the requests that one look into a table can place.

    All else (other addresses, other methods, endpoints with dependencies) goes on to the framework's routes,
    which are the only ones that the API's document knows.
    """

    def __init__(self, routes: Iterable[RouteContext]) -> None:
        self.endpoints: dict[Place, Endpoint] = {}
        for route in routes:
            original = route.original_route
            if not isinstance(original, APIRoute) or route.dependencies:
                continue
            if list(inspect.signature(original.endpoint).parameters) == ["request"]:
                self._add(route.path or "", route.methods or (), original.endpoint)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        split = _split(scope["path"])
        endpoint = split and self.endpoints.get((scope.get("method", ""), split[0], split[2]))
        if not split or endpoint is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": endpoint, "path_params": {"project_id": split[1]}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await scope["endpoint"](Request(scope, receive, send))
        await response(scope, receive, send)

    def _add(self, path: str, methods: Iterable[str], endpoint: Endpoint) -> None:
        split = _split(path)
        if split and split[1] == PROJECT and "{" not in split[2]:
            for method in methods:
                self.endpoints.setdefault((method, split[0], split[2]), endpoint)


def _split(path: str) -> tuple[str, str, str] | None:
    """`/api/environments/7/logs/count/` as `environments`, `7` and `logs/count/`."""
    parts = path.split("/", 4)
    return (parts[2], parts[3], parts[4]) if len(parts) == 5 and parts[1] == "api" and parts[3] else None
