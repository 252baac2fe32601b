"""`/docs` over HTTP: the page and its assets, how they may be kept, and what the browser may do with them."""

from __future__ import annotations

import httpx2
import pytest

from api_shim.routes.console import ASSETS
from tests.e2e.matching import error_faults
from tests.running import RunningStack

ADDRESSES = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/": ("docs.html", "text/html; charset=utf-8"),
    "/docs/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/docs/style.css": ("style.css", "text/css; charset=utf-8"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_page_and_assets_need_no_key(stack: RunningStack, address: str) -> None:
    name, media_type = ADDRESSES[address]

    answer = httpx2.get(stack.url + address)

    assert answer.status_code == 200
    assert answer.content == ASSETS[name].content
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("address", ADDRESSES)
def test_policy_allows_own_files_only(stack: RunningStack, address: str) -> None:
    policy = httpx2.get(stack.url + address).headers["content-security-policy"]

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'self'"
    assert {source for sources in rules.values() for source in sources.split()} == {
        "'self'",
        "'none'",
        "data:",
    }
    assert [name for name, sources in rules.items() if "data:" in sources] == ["img-src"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_a_browser_has_is_not_sent_again(stack: RunningStack, address: str) -> None:
    first = httpx2.get(stack.url + address)

    again = httpx2.get(stack.url + address, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    changed = httpx2.get(stack.url + address, headers={"If-None-Match": '"other"'})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert changed.status_code == 200


@pytest.mark.parametrize("address", ADDRESSES)
def test_head_tells_what_get_would(stack: RunningStack, address: str) -> None:
    got, asked = httpx2.get(stack.url + address), httpx2.head(stack.url + address)

    assert (asked.status_code, asked.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "cache-control", "content-security-policy"):
        assert asked.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "address", ["/docs/nothing.js", "/docs/docs.html", "/docs/app.js//", "/docs/..%2fapp.py", "/docs/a/b"]
)
def test_unknown_assets_are_not_found(stack: RunningStack, address: str) -> None:
    answer = httpx2.get(stack.url + address)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert list(error_faults(answer.json())) == []


def test_page_is_for_reading(stack: RunningStack) -> None:
    answer = httpx2.post(f"{stack.url}/docs")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert list(error_faults(answer.json())) == []


def test_pages_links_lead_somewhere(stack: RunningStack) -> None:
    for address in ("/docs/app.js", "/docs/style.css", "/openapi.json"):
        assert f'"{address}"' in httpx2.get(f"{stack.url}/docs").text
        assert httpx2.get(stack.url + address).status_code == 200
