"""Find and call endpoints that need nothing but the request, without the framework's search and solving.

Most addresses of the API have no parameter but the project, and their endpoints read everything else from the
request themselves. The framework tries the routers one by one, each of them twice, and then prepares for
dependencies that there are not: together more than the look into the cache that answers most calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping

from fastapi.routing import APIRoute, RouteContext
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]
Failed = Callable[[Request, Exception], Awaitable[Response]]
# Method, and the address without the project.
Place = tuple[str, str, str]

PROJECT = "{project_id}"


class DirectRoutes:
    """The innermost middleware: takes the requests that one look into a table can place.

    All else (other addresses or methods, endpoints with dependencies) goes on to the routes of the framework,
    which are the only ones that the API's document knows. `failed` answers for an endpoint that raised.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Iterable[RouteContext], failed: Mapping[type[Exception], Failed]
    ) -> None:
        self._app = app
        self._failed = failed
        self._failures = tuple(failed)
        self.endpoints: dict[Place, Endpoint] = {}
        for route in routes:
            original = route.original_route
            if not isinstance(original, APIRoute) or route.dependencies:
                continue
            if list(inspect.signature(original.endpoint).parameters) == ["request"]:
                self._add(route.path or "", route.methods or (), original.endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        split = _split(scope["path"]) if scope["type"] == "http" else None
        endpoint = split and self.endpoints.get((scope["method"], split[0], split[2]))
        if not split or endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["path_params"] = {"project_id": split[1]}
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except self._failures as error:
            response = await self._answer_to(error)(request, error)
        await response(scope, receive, send)

    def _answer_to(self, error: Exception) -> Failed:
        return next(answer for kind, answer in self._failed.items() if isinstance(error, kind))

    def _add(self, path: str, methods: Iterable[str], endpoint: Endpoint) -> None:
        split = _split(path)
        if split and split[1] == PROJECT and "{" not in split[2]:
            for method in methods:
                self.endpoints.setdefault((method, split[0], split[2]), endpoint)


def _split(path: str) -> tuple[str, str, str] | None:
    """`/api/environments/7/logs/count/` as `environments`, `7` and `logs/count/`."""
    parts = path.split("/", 4)
    return (parts[2], parts[3], parts[4]) if len(parts) == 5 and parts[1] == "api" and parts[3] else None
