"""`/docs`: the page that shows the OpenAPI document to a person. No key, as for the document itself.

The files are in `api_shim/console/`. They name no other host, and the policy they are sent with lets the
browser ask none: the page works on a machine without a network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from jobs.errors import NotFound

router = APIRouter(tags=["operations"])

PAGE = "docs.html"
TYPES = {"docs.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
HEADERS = {
    # `data:` is the empty icon of the page, which saves the browser from asking for `/favicon.ico`.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, and answered 304: after an update no old script meets a new document.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    etag: str


def _read(name: str) -> Asset:
    content = files("api_shim").joinpath("console", name).read_bytes()
    return Asset(content, TYPES[name], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


ASSETS = {name: _read(name) for name in TYPES}


@router.get("/docs", summary="API Docs", response_class=HTMLResponse)
async def docs_page(request: Request) -> Response:
    """This document as a page to read and search, with commands to copy."""
    return _answer(request, ASSETS[PAGE])


@router.get("/docs/{name}", include_in_schema=False)
async def docs_asset(request: Request, name: str) -> Response:
    if name == PAGE or name not in ASSETS:
        raise NotFound("There is nothing at this address.")
    return _answer(request, ASSETS[name])


def _answer(request: Request, asset: Asset) -> Response:
    headers = {**HEADERS, "ETag": asset.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
