"""The `Prefer` header (RFC 7240), as far as this API honours it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preference:
    """How long a caller waits. `applied` is the `Preference-Applied` header; empty when nothing was asked."""

    wait_s: float
    asynchronous: bool
    applied: str

    @property
    def stated(self) -> bool:
        """Whether the caller knows about jobs, and so may be answered with one."""
        return bool(self.applied)

    def headers(self) -> dict[str, str]:
        return {"Vary": "Prefer", "Preference-Applied": self.applied} if self.applied else {"Vary": "Prefer"}


def parse_prefer(values: Iterable[str], *, longest_wait_s: float) -> Preference:
    """Read all `Prefer` headers. What is unknown, malformed or repeated is ignored, never an error."""
    text, asked = ",".join(values), dict[str, str]()
    if not text:  # as most callers
        return Preference(longest_wait_s, False, "")
    for item in text.split(","):
        name, _, value = item.split(";")[0].partition("=")
        asked.setdefault(name.strip().lower(), value.strip().strip('"'))
    asynchronous = asked.get("respond-async") == ""
    wait = _seconds(asked.get("wait", ""), longest_wait_s)
    applied = ["respond-async"] * asynchronous + ([f"wait={wait}"] if wait is not None else [])
    if wait is None:
        wait_s: float = 0 if asynchronous else longest_wait_s
    else:
        wait_s = wait
    return Preference(wait_s, asynchronous, ", ".join(applied))


def _seconds(text: str, longest: float) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return int(min(int(text[:9]), longest))
