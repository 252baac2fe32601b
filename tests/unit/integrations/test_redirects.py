"""Where a connect flow may lead back to."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import ValidationFailed
from jobs.redirects import check_next, with_query

ORIGINS = ("https://app.example.com", "http://localhost:3000", "http://[::1]:3000")


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/settings",
        "/a/b?c=d&e=x",
        "/a?next=https://evil.example/",
        "/a//b",
        "/é/日本",
        "/a#b",
        "/?a=%2F%2Fb",
        "/%61bc",
        "/@evil.example",
        "/:80/",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com?x=1",
        "https://app.example.com#x",
        "HTTPS://APP.example.com/x",
        "http://localhost:3000/x",
        "http://[::1]:3000/x",
        "/" + "x" * 2047,
    ],
)
def test_local_paths_and_allowed_origins_are_taken(address: str) -> None:
    assert check_next(address, origins=ORIGINS) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "?x",
        "#x",
        "./x",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/%2Fevil.example",
        "/%2fevil.example",
        "%2F%2Fevil.example",
        "/%5Cevil.example",
        "/a%5Cb",
        "/%09/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " /x",
        "/x ",
        "/a b",
        "/a%20b",
        "/a%0d%0aSet-Cookie:x=1",
        "/a\r\nSet-Cookie: x=1",
        "/a\0",
        "/a%00",
        "/a\x7f",
        "/a\x85b",
        "/a%C2%85b",
        "/a\u2028b",
        "/a\u3000b",
        "/a\u202eb",
        "/a\ufeffb",
        "/a\ud800",
        "https://evil.example/",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "http:////evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://app.example.com:443@evil.example/",
        "https://app.example.com:8443/",
        "https://app.example.com\\@evil.example/",
        "https://app.example.com%2F@evil.example/",
        "https://evil.example/https://app.example.com/",
        "https://evil.example#https://app.example.com/",
        "http://app.example.com/",
        "http://localhost:30000/",
        "//app.example.com/",
        "https://app.example.com /",
        "https://app.example.com/a%0d%0ab",
    ],
)
def test_what_leads_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        check_next(address, origins=ORIGINS)

    assert (raised.value.attr, raised.value.code) == ("next", "invalid_input")


def test_a_long_address_is_refused() -> None:
    with pytest.raises(ValidationFailed) as raised:
        check_next("/" + "x" * 2048, origins=ORIGINS)

    assert (raised.value.attr, raised.value.code) == ("next", "max_length")


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("/\\:@?#.%25fcevil \t\r\n\x00"), max_size=12))
def test_whatever_is_taken_stays_at_home(text: str) -> None:
    try:
        address = check_next(text, origins=())
    except ValidationFailed:
        return

    home = "https://tracegist.example"
    for form in (address, with_query(address, integration_id="1")):
        found = urlsplit(urljoin(f"{home}/integrations/slack/callback", form))
        assert f"{found.scheme}://{found.netloc}" == home


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("/", "/?integration_id=1"),
        ("/a?b=c", "/a?b=c&integration_id=1"),
        ("/a#b", "/a?integration_id=1#b"),
        ("/é", "/%C3%A9?integration_id=1"),
        ("/a%2Fb", "/a%2Fb?integration_id=1"),
        ("https://app.example.com", "https://app.example.com?integration_id=1"),
    ],
)
def test_members_are_added_to_the_query(address: str, there: str) -> None:
    assert with_query(address, integration_id="1") == there
