"""The client behind trusted proxies."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from api_shim.forwarding import Client, forwarded_client

DIRECT = Client("10.0.0.1", "http", "inside:8000")


def behind(*headers: tuple[str, str]) -> Client:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return forwarded_client(Headers(raw=raw), DIRECT, lambda address: address.startswith("10."))


def test_without_headers_the_peer_is_the_client() -> None:
    assert behind() == DIRECT


def test_x_forwarded_headers_name_client_scheme_and_host() -> None:
    client = behind(
        ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "t.example")
    )

    assert client == Client("203.0.113.9", "https", "t.example")


def test_forwarded_names_them_too() -> None:
    client = behind(("forwarded", 'For="203.0.113.9:4711";Proto=HTTPS;host="t.example:8443";by=10.0.0.1'))

    assert client == Client("203.0.113.9", "https", "t.example:8443")


def test_x_forwarded_headers_go_before_forwarded() -> None:
    client = behind(("x-forwarded-host", "t.example"), ("forwarded", "host=u.example;proto=https"))

    assert client == Client("10.0.0.1", "https", "t.example")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9"),
        (("forwarded", "for=1.1.1.1, for=203.0.113.9;proto=https, for=10.0.0.2"), "203.0.113.9"),
        (("forwarded", 'for="[2001:db8::7]:4711"'), "2001:db8::7"),
        (("forwarded", "for=unknown"), "unknown"),
        (("x-forwarded-for", " , "), "10.0.0.1"),
    ],
)
def test_address_is_the_last_that_is_no_proxy_of_ours(header: tuple[str, str], address: str) -> None:
    assert behind(header).address == address


def test_scheme_is_http_or_https() -> None:
    assert behind(("x-forwarded-proto", "javascript")).scheme == "http"
