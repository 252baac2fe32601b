"""What holds for every request before any route is looked at: ids, hosts, addresses, and the last resort.

The outermost layer. It adds `X-Request-Id` and `Cache-Control`, serves addresses with and without the
trailing slash alike, answers HEAD like GET, and turns a crash into the common error body.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_shim.errors import error_response
from api_shim.forwarding import Client, forwarded_client
from jobs.errors import InternalError, InvalidRequest, NotFound, TracegistError

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")


class Edge:
    """ASGI middleware; `public_url` empty means that links follow the request's own host."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_url: str,
        allowed_hosts: tuple[str, ...],
        trusted_proxies: tuple[str, ...],
    ) -> None:
        self._app = app
        self._public_url = public_url.rstrip("/")
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._proxies = tuple(ip_network(proxy, strict=False) for proxy in trusted_proxies)
        self._is_proxy = lru_cache(maxsize=1024)(self._is_in_proxies)  # few peers have most connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        head = scope["method"] == "HEAD"
        state: dict[str, Any] = {}
        outgoing = _Outgoing(send, request_id=request_id, head=head, state=state)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            inner = self._inner_scope(scope, headers, request_id, state)
            await self._app(inner, receive, outgoing)
        except TracegistError as error:
            await error_response(error, path=scope["path"])(scope, receive, outgoing)
        except ClientDisconnect:
            log.info("caller_hung_up")  # while sending its body: there is nobody to answer, and no job
        except Exception:
            log.exception("request_crashed", method=scope["method"])
            if outgoing.started:
                raise
            fault = InternalError("Something went wrong on our side.", extra={"request_id": request_id})
            await error_response(fault, path=scope["path"])(scope, receive, outgoing)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")

    def _inner_scope(self, scope: Scope, headers: Headers, request_id: str, state: dict[str, Any]) -> Scope:
        path, client = scope["path"], self._client_of(scope, headers)
        state |= {**scope.get("state", {}), "request_id": request_id, "called_path": path}
        state |= {"head": scope["method"] == "HEAD", "client_address": client.address}
        state["base_url"] = self._base_url(client, headers)
        if b"%2f" in scope.get("raw_path", b"").lower():
            raise NotFound("There is nothing at this address.")
        inner = {**scope, "state": state}
        inner["path"] = _route_path(path)
        if scope["method"] == "HEAD":
            inner["method"] = "GET"
        return inner

    def _base_url(self, client: Client, headers: Headers) -> str:
        """The origin of absolute links."""
        if self._public_url:
            return self._public_url
        matched = _HOST.fullmatch(client.host)
        if len(headers.getlist("host")) > 1 or not matched or matched[1].lower() not in self._allowed_hosts:
            raise InvalidRequest("This host name is not served here.", code="invalid_host")
        return f"{client.scheme}://{client.host}"

    def _client_of(self, scope: Scope, headers: Headers) -> Client:
        """What the peer says of the client when it is a proxy of ours, else the peer itself."""
        peer = scope["client"][0] if scope.get("client") else ""
        direct = Client(peer, scope["scheme"], headers.get("host", ""))
        return forwarded_client(headers, direct, self._is_proxy) if self._is_proxy(peer) else direct

    def _is_in_proxies(self, address: str) -> bool:
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        return any(peer in proxy for proxy in self._proxies)


class _Outgoing:
    """Adds the headers that every answer carries, and drops the body of an answer to HEAD.

    `state` is the request's own; what it holds as `rate_headers` when the answer starts goes along.
    """

    def __init__(
        self,
        send: Callable[[Message], Awaitable[None]],
        *,
        request_id: str,
        head: bool,
        state: Mapping[str, Any],
    ) -> None:
        self._send = send
        self._state = state
        self._request_id = request_id
        self._head = head
        self.started = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers.setdefault("Cache-Control", "no-store")
            headers.update(self._state.get("rate_headers", {}))
        elif self._head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _route_path(path: str) -> str:
    """The path as its route is written: those of the API end with a slash, all others do not."""
    bare = path.removesuffix("/")
    if not bare or bare.endswith("/"):
        return path  # an empty segment is an address of its own, without a route
    return f"{bare}/" if path.startswith("/api/") else bare


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
