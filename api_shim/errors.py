"""Errors to answers: every status from 400 on, from every layer, has the common body."""

from __future__ import annotations

import re
from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from jobs.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    TracegistError,
    Unavailable,
    UnsupportedMediaType,
)
from jobs.json_text import dump_json

log = structlog.get_logger()

_LOG_ROUTES = re.compile(r"/api/(environments|projects)/[^/]+/logs/")


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dump_json(body), status, dict(headers or {}), media_type="application/json")


def error_response(
    error: TracegistError, *, path: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """The common error body with what the routes at `path` add, and the headers that its status asks for."""
    extra = {**error.headers, **(headers or {})}
    if _LOG_ROUTES.match(path):
        error.extra.setdefault("error", error.detail)  # clients of these routes read this member
    if isinstance(error, NotAuthenticated):
        extra["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UnsupportedMediaType):
        extra.setdefault("Accept-Post", "application/json")
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(max(1, error.retry_after_s))
    return json_response(error.body(), status=error.status, headers=extra)


def install_error_handlers(app: FastAPI) -> None:
    for kind, answer in ERRORS_OF_ENDPOINTS.items():
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _tracegist_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TracegistError)  # noqa: S101 - registered for this class only
    if error.status >= 500:
        error.extra.setdefault("request_id", request.state.request_id)
    return error_response(error, path=request.scope["path"])


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown routes and methods."""
    status, path = error.status_code if isinstance(error, HTTPException) else 500, request.scope["path"]
    if status == 405:
        allowed = ", ".join(_methods_at(request))
        return error_response(
            MethodNotAllowed("This address does not take this method."),
            path=path,
            headers={"Allow": allowed},
        )
    if status == 404:
        return error_response(NotFound("There is nothing at this address."), path=path)
    if status < 500:
        return error_response(InvalidRequest("The request cannot be read."), path=path)
    return error_response(InternalError("Something went wrong on our side."), path=path)


async def _validation_error(request: Request, _error: Exception) -> Response:
    return error_response(InvalidRequest("The request cannot be read."), path=request.scope["path"])


async def _database_error(request: Request, error: Exception) -> Response:
    log.error("database_unavailable", error=type(error).__name__)
    return error_response(
        Unavailable(
            "The metadata database cannot be reached; try again shortly.",
            retry_after_s=5,
            extra={"request_id": request.state.request_id},
        ),
        path=request.scope["path"],
    )


# What our own endpoints raise; the framework's own errors come from its routes.
ERRORS_OF_ENDPOINTS = {TracegistError: _tracegist_error, SQLAlchemyError: _database_error}


def _methods_at(request: Request) -> list[str]:
    """The methods of all routes at this path: each method may be a route of its own."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.path_regex.match(request.scope["path"]):
            methods |= route.methods or set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
