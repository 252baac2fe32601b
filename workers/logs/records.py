"""The pieces that every way in shares: rows, severity, limits and resources.

A `Row` has the order of `schema.LOGS_COLUMNS` without project, uuid and observed_timestamp, which the
store adds. Nothing here raises anything but `BadRecord`, which costs that one record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobs.errors import RequestTooLarge
from jobs.json_text import JsonSyntaxError, load_json

MAX_BODY_BYTES: Final = 1 << 20
MAX_ATTRIBUTES: Final = 512
MAX_KEY_BYTES: Final = 1 << 10
MAX_VALUE_BYTES: Final = 64 << 10
MAX_RECORDS: Final = 100_000
MAX_LISTED: Final = 100  # rejections that are kept with their reason
END_OF_TIME: Final = 9_246_182_400_000_000  # 2263-01-01 in microseconds

NO_TRACE: Final = "0" * 32
NO_SPAN: Final = "0" * 16

Row = tuple[int, str, str, int, str, str, str, int, str, str, Mapping[str, str], Mapping[str, str], int, int]
"""timestamp (microseconds), service_name, severity_text, severity_number, body, trace_id, span_id,
trace_flags, instrumentation_scope, event_name, attributes, resource_attributes, resource_fingerprint, bytes.
"""
ROW_TIMESTAMP: Final = 0
ROW_BYTES: Final = 13

LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")
_NUMBERS: Final[Mapping[str, int]] = {
    name: 1 + 4 * LEVELS.index(level)
    for level, names in {
        "trace": ("trace",),
        "debug": ("debug", "dbug"),
        "info": ("info", "information", "informational", "notice"),
        "warn": ("warn", "warning"),
        "error": ("error", "err", "eror"),
        "fatal": ("fatal", "critical", "crit", "alert", "emerg"),
    }.items()
    for name in names
}
_BODY_LEVELS: Final = ("level", "severity", "log.level")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+\Z")


class BadRecord(ValueError):
    """This record is not acceptable; the message says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Rejection:
    position: int
    """NDJSON: line, from 1. OTLP: position of the record in the request, from 0."""
    reason: str


@dataclass(slots=True)
class Parsed:
    """What a request body holds: rows to store, and what is wrong with the rest."""

    rows: list[Row] = field(default_factory=list)
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    """The first `MAX_LISTED` of them."""

    @property
    def accepted(self) -> int:
        return len(self.rows)

    @property
    def seen(self) -> int:
        return len(self.rows) + self.rejected

    def reject(self, position: int, reason: str, *, count: int = 1) -> None:
        if len(self.rejections) < MAX_LISTED:
            self.rejections.append(Rejection(position, reason))
        self.rejected += count

    def check_size(self) -> None:
        if self.seen > MAX_RECORDS:
            raise RequestTooLarge(f"A request may hold at most {MAX_RECORDS} records.")


@dataclass(frozen=True, slots=True)
class Resource:
    """What the records of one group share."""

    attributes: Mapping[str, str]
    service_name: str
    fingerprint: int
    size: int
    """Bytes of keys and values."""

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Resource:
        return cls(
            attributes, attributes.get("service.name", ""), fingerprint(attributes), size_of(attributes)
        )


NO_RESOURCE: Final[Mapping[str, str]] = {}


def fingerprint(attributes: Mapping[str, str]) -> int:
    """A 64-bit hash of the pairs, whatever their order."""
    digest = hashlib.blake2b(digest_size=8, person=b"resource")
    for key in sorted(attributes):
        for text in (key.encode(), attributes[key].encode()):
            digest.update(len(text).to_bytes(4, "big"))
            digest.update(text)
    return int.from_bytes(digest.digest(), "big")


def byte_length(text: str) -> int:
    """Length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def size_of(attributes: Mapping[str, str]) -> int:
    joined = "".join(attributes) + "".join(attributes.values())
    return byte_length(joined)


def checked_body(text: str) -> str:
    if len(text) * 4 > MAX_BODY_BYTES and byte_length(text) > MAX_BODY_BYTES:
        raise BadRecord("the body is over 1 MiB")
    return text


def check_count(count: int) -> None:
    if count > MAX_ATTRIBUTES:
        raise BadRecord(f"more than {MAX_ATTRIBUTES} attributes")


def collect(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Attributes as a map; of equal keys the last wins."""
    attributes: dict[str, str] = {}
    for key, value in pairs:
        if len(key) * 4 > MAX_KEY_BYTES and byte_length(key) > MAX_KEY_BYTES:
            raise BadRecord("an attribute key is over 1 KiB")
        if len(value) * 4 > MAX_VALUE_BYTES and byte_length(value) > MAX_VALUE_BYTES:
            raise BadRecord("an attribute value is over 64 KiB")
        attributes[key] = value
    return attributes


def severity(number: int, text: str, body: str) -> tuple[str, int]:
    """(level, number) from what was sent: the number decides, then the text, then a level in a JSON body."""
    if 1 <= number <= 24:
        return LEVELS[(number - 1) // 4], number
    found = _NUMBERS.get(text.lower()) or _level_in(body) or 9
    return LEVELS[found // 4], found


def _level_in(body: str) -> int | None:
    if not body.lstrip(" \t\r\n").startswith("{") or not any(name in body for name in _BODY_LEVELS):
        return None
    try:
        members = load_json(body.encode())
    except JsonSyntaxError:
        return None
    if isinstance(members, dict):
        for name in _BODY_LEVELS:
            level = members.get(name)
            if isinstance(level, str) and level.lower() in _NUMBERS:
                return _NUMBERS[level.lower()]
    return None


def hex_id(value: object, absent: str) -> str:
    """An id sent as hex text, in upper case; `absent` (zeros) when it is not one of that length."""
    if isinstance(value, str) and len(value) == len(absent) and _HEX.match(value):
        return value.upper()
    return absent


def scope_text(name: str, version: str) -> str:
    return f"{name}@{version}" if name or version else ""
