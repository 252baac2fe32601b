"""Which addresses on the network our own calls may go to: public ones, unless private ones are allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2048
_NAT64: Final = ip_network("64:ff9b::/96")
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain", "metadata", "metadata.google.internal")
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".home.arpa")

Address = IPv4Address | IPv6Address


class BadAddress(ValueError):
    """The URL may not be called; the message says why, without repeating it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, before its name is looked up."""

    scheme: str
    host: str
    port: int


def target_of(url: str, *, allow_private: bool) -> Target:
    """Check all that can be seen in a URL. Plain http and local names are for private networks only.

    Raises:
        BadAddress: it may not be called.
    """
    if (
        len(url) > MAX_URL
        or not url.isascii()
        or any(char <= " " or char in '"<>\\^`{|}\x7f' for char in url)
    ):
        raise BadAddress(
            "An absolute URL without blanks and with at most 2,048 ASCII characters is required."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadAddress("This is not a URL.") from None
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise BadAddress("An absolute URL that begins with https:// is required.")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise BadAddress("A URL with a user name or password is not accepted.")
    if port == 0:
        raise BadAddress("This is not a URL.")
    if not allow_private:
        if parts.scheme != "https":
            raise BadAddress("The URL must begin with https://.")
        if host in _LOCAL_NAMES or host.endswith(_LOCAL_SUFFIXES):
            raise BadAddress("The URL leads into a private network.")
        _check_literal(host)
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def allowed(addresses: Iterable[str], *, allow_private: bool) -> list[str]:
    """Those of the looked-up addresses that may be called."""
    return [text for text in addresses if allow_private or is_public(ip_address(text.partition("%")[0]))]


def is_public(address: Address) -> bool:
    """Whether an address is reachable from anywhere; an IPv4 address in an IPv6 one counts as itself."""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or site_local
    return address.is_global and not odd


def _embedded(address: Address) -> IPv4Address | None:
    if not isinstance(address, IPv6Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _check_literal(host: str) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        return
    if not is_public(address):
        raise BadAddress("The URL leads into a private network.")
