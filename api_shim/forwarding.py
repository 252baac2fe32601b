"""Who called, by the headers of proxies: `X-Forwarded-*`, else `Forwarded` (RFC 7239).

Whether a peer may be believed is `edge.py`'s to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers

_ADDRESS = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([^:]+):[0-9]+")


@dataclass(frozen=True, slots=True)
class Client:
    """The caller's address, and the scheme and host that it used."""

    address: str
    scheme: str
    host: str


def forwarded_client(headers: Headers, direct: Client, is_proxy: Callable[[str], bool]) -> Client:
    """The client behind proxies; `direct` is the peer, which is one of them."""
    elements = _elements(headers)
    named = [element["for"] for element in elements if "for" in element]
    schemes = _listed(headers, "x-forwarded-proto") or [it["proto"] for it in elements if "proto" in it]
    hosts = _listed(headers, "x-forwarded-host") or [it["host"] for it in elements if "host" in it]
    scheme = schemes[0].lower() if schemes else direct.scheme
    return Client(
        address=_before_proxies(_listed(headers, "x-forwarded-for") or named, direct.address, is_proxy),
        scheme=scheme if scheme in ("http", "https") else direct.scheme,
        host=hosts[0] if hosts else direct.host,
    )


def _before_proxies(named: list[str], address: str, is_proxy: Callable[[str], bool]) -> str:
    """The last address that is none of our proxies: what stands before it, the client may have made up."""
    for text in reversed(named):
        if not is_proxy(address):
            break
        found = _ADDRESS.fullmatch(text)
        address = (found[1] or found[2]) if found else text
    return address


def _listed(headers: Headers, name: str) -> list[str]:
    return [item.strip() for item in ",".join(headers.getlist(name)).split(",") if item.strip()]


def _elements(headers: Headers) -> list[dict[str, str]]:
    """The elements of `Forwarded`, that of the proxy next to the client first."""
    found = []
    for element in _listed(headers, "forwarded"):
        pairs = (pair.partition("=") for pair in element.split(";"))
        found.append({name.strip().lower(): value.strip().strip('"') for name, _, value in pairs if value})
    return found
