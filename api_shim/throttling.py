"""How often a key may call, by bucket, and how often an address may come with a key that is not valid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network

from prometheus_client import Counter

from api_shim.auth import Caller
from cache.throttles import SlidingWindows, Verdict
from config.rates import Rate, parse_rates
from config.settings import Settings
from jobs.errors import Throttled

THROTTLED = Counter("throttled_total", "Requests that were refused with 429, by bucket.", ["bucket"])
AUTH_FAILURES = "auth_failures"
_NAMES = ("burst", "sustained", "daily")


class Bucket(StrEnum):
    """Requests of different buckets are counted apart."""

    DEFAULT = "default"
    LOGS = "logs"
    SUMMARIZATION = "summarization"
    TEXT_REPR = "text_repr"
    INSIGHT = "insight"


class Throttles:
    """`windows` None: throttles are switched off."""

    def __init__(self, windows: SlidingWindows | None, rates: Mapping[str, tuple[Rate, ...]]) -> None:
        self._windows = windows
        self._rates = rates

    async def admit(self, caller: Caller, bucket: Bucket) -> dict[str, str]:
        """Count a request of this caller; the headers that tell it what is left.

        Raises:
            Throttled: a window of the bucket has no room; the request was not counted.
        """
        # Questions cost the most, and a user is not to multiply them by making keys.
        who = f"user:{caller.user_id}" if bucket is Bucket.INSIGHT else f"key:{caller.key_id}"
        verdict = await self._take(bucket, who)
        return _headers(verdict) if verdict else {}

    async def admit_refused_key(self, address: str) -> None:
        """Count a request without a valid key from this client address.

        Raises:
            Throttled: too many came from there.
        """
        await self._take(AUTH_FAILURES, f"address:{_network_of(address)}")

    async def _take(self, bucket: str, who: str) -> Verdict | None:
        rates = self._rates.get(bucket)
        if self._windows is None or not rates:
            return None
        verdict = await self._windows.take(f"{bucket}:{who}", rates)
        if verdict is not None and verdict.wait_s > 0:
            THROTTLED.labels(bucket).inc()
            seconds = math.ceil(verdict.wait_s)
            error = Throttled(f"Too many requests; try again in {seconds} s.", retry_after_s=seconds)
            error.headers.update(_headers(verdict))
            raise error
        return verdict


def rates_of(settings: Settings) -> dict[str, tuple[Rate, ...]]:
    """The rates that are switched on, by bucket."""
    texts: dict[str, tuple[str, ...]] = {}
    if settings.rate_limits:
        texts = {bucket: getattr(settings, f"rate_{bucket}") for bucket in Bucket}
    texts[AUTH_FAILURES] = settings.auth_failures
    return {name: parse_rates(rates) for name, rates in texts.items() if rates}


def _headers(verdict: Verdict) -> dict[str, str]:
    """The fields of the IETF draft on rate limit headers."""
    named = [(_name(place), room) for place, room in enumerate(verdict.rooms)]
    return {
        "RateLimit-Policy": ", ".join(
            f'"{name}";q={room.rate.limit};w={room.rate.window_s}' for name, room in named
        ),
        "RateLimit": ", ".join(f'"{name}";r={room.left};t={math.ceil(room.reset_s)}' for name, room in named),
    }


def _name(place: int) -> str:
    return _NAMES[place] if place < len(_NAMES) else f"window-{place + 1}"


def _network_of(address: str) -> str:
    """An IPv4 address, or the /64 that an IPv6 caller may choose its addresses from."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False).network_address)
