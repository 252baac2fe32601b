"""Which URLs and addresses may be called."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from jobs.addresses import BadAddress, Target, allowed, is_public, target_of


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com/x?y=1", Target("https", "hooks.example.com", 443)),
        ("https://Hooks.Example.com.:8443", Target("https", "hooks.example.com", 8443)),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443)),
        ("https://[2606:4700::1111]/", Target("https", "2606:4700::1111", 443)),
        ("https://xn--bcher-kva.example/%7Ex", Target("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_public_addresses_are_accepted(url: str, target: Target) -> None:
    assert target_of(url, allow_private=False) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "//hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://:@hooks.example.com/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hööks.example.com/",
        "https://[::1/",
        "https://hooks.example.com/" + "x" * 2048,
    ],
)
@pytest.mark.parametrize("allow_private", [True, False])
def test_what_is_no_plain_url_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(BadAddress):
        target_of(url, allow_private=allow_private)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://127.0.0.1/",
        "https://127.1.2.3/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fec0::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
    ],
)
def test_private_addresses_and_plain_http_need_permission(url: str) -> None:
    with pytest.raises(BadAddress):
        target_of(url, allow_private=False)

    assert target_of(url, allow_private=True).host


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_is_public_in_every_form(address: str) -> None:
    assert is_public(ip_address(address))


def test_only_public_ones_of_the_addresses_of_a_name_are_left() -> None:
    found = ["10.0.0.1", "8.8.8.8", "fe80::1%eth0", "::1", "169.254.169.254"]

    assert allowed(found, allow_private=False) == ["8.8.8.8"]
    assert allowed(found, allow_private=True) == found
