"""Random records and filters with the texts that filters go wrong on."""

from __future__ import annotations

import random
from typing import Any

from tests.integration.logs.rows import START
from workers.logs.records import NO_SPAN, NO_TRACE, Resource, Row, byte_length, size_of

TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "error",
    "ERROR 100%",
    "100%_done",
    "a_b",
    "it's",
    'say "x"',
    "back\\slash",
    "line\nbreak",
    "nul\0byte",
    "{x:String}",
    "Straße",
    "STRASSE",
    "ΟΔΟΣ",
    "οδος",
    "οδοσ",
    "\u212aelvin",
    "kelvin",
    "me\u017f\u017fage",
    "MESSAGE",
    "İstanbul",
    "istanbul",
    "ıi",
    "ОШИБКА входа",
    "ошибка ВХОДА",
    "日本語ログ",
    "😀 smile",
    "a.c",
    "abc",
    "(",
    "[x]",
    "tab\there",
    " lead",
    "trail ",
    "user session expired",
    "USER SESSION EXPIRED",
    "ǆ",
    "ǅ",
    "Ǆ",
    "ẞ",
    "ß",
    "µ",
    "Μ",
)
NUMBERS = (
    "0",
    "-0",
    "0.0",
    "10",
    "10.0",
    "1e1",
    "+10",
    "-10",
    "010",
    "9007199254740992",
    "9007199254740993",
    "1e400",
    "1e-400",
    "-1e400",
    "0.1",
    "0.10",
    "1.5e-3",
    "123456789012345678901234567890",
    "NaN",
    "inf",
    "0x10",
    "1,000",
    "1.",
    ".5",
    "1e",
    "1E2",
    "99",
    "-99.5",
    " 1",
    "1\n",
    "0e99999999999999999999",
    "1e99999999999999999999",
    "1e00000000000000000000001",
)
DATES = (
    "2026-01-01",
    "2026-1-1",
    "2026-01-01T00:00:00Z",
    "2026-01-01 00:00",
    "2025-12-31T23:59:59.999999Z",
    "2025-12-31T23:59:59.9999999",
    "2026-01-01T01:00:00+01:00",
    "2026-01-01T00:00:00-0130",
    "0001-01-01",
    "9999-12-31",
    "1969-07-20T20:17:40Z",
    "2024-02-29",
    "2026-02-29",
    "2000-02-29",
    "1900-02-29",
    "2026-13-01",
    "2026-00-10",
    "2026-01-00",
    "2026-01-32",
    "0000-01-01",
    "2026-01-01T24:00",
    "2026-01-01T00:60",
    "2026-01-01T00:00:60",
    "2026-03-29T02:30",
    "2026-03-29T01:30",
    "2026-03-29T03:30",
    "2026-10-25T02:30",
    "2026-10-25T03:00",
    "2026-10-25T01:59:59.999999",
    "x2026-01-01",
    "2026-01-01\n",
    "2026-01-01T00:00:00.1234567890Z",
    "9999-12-31T23:59-01:00",
    "0001-01-01T00:00+01:00",
    "2026-01-01T00:00+24:00",
    "20260-01-01",
    "2026-04-31",
    "2026-03-29T01:00Z",
)
KEYS = ("k", "http.status", "it's", "key with space", "{p0:String}", "ключ", "a\0b", "K")
PATTERNS = (
    "a.c",
    "(?i)error",
    "^a",
    "b$",
    "k",
    "(?i)k",
    "(?i)ß",
    "line.break",
    "(?-s)line.break",
    "\\d+",
    "[[:upper:]]+",
    "",
    "a|b",
    "\\x00",
    "ошибка",
    "(?i)ошибка",
    "^$",
    "\\bsession\\b",
    "(?m)^break$",
    "\\pL+",
)
LEVELS = (("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("error", 17), ("fatal", 21))
SERVICES = ("", "api", "API", "web", "(no value)", *(f"s{number}" for number in range(14)))
TEXT_OPERATORS = (
    "exact",
    "in",
    "is_not",
    "not_in",
    "icontains",
    "icontains_multi",
    "not_icontains",
    "not_icontains_multi",
    "starts_with",
    "ends_with",
    "not_starts_with",
    "not_ends_with",
)
ALL_FIELDS = (
    "message",
    "body",
    "severity_level",
    "severity_text",
    "level",
    "service_name",
    "trace_id",
    "span_id",
    "event_name",
    "instrumentation_scope",
)


class Drawn:
    """Everything comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *pools: tuple[Any, ...]) -> Any:
        return self.random.choice(self.random.choice(pools))

    def row(self, number: int, *, spread_us: int) -> Row:
        """A record that its event name identifies."""
        own = {self.one(KEYS): self.one(TEXTS, NUMBERS, DATES) for _ in range(self.random.randrange(4))}
        service = self.one(SERVICES)
        resource = Resource.of({"service.name": service, self.one(KEYS): self.one(TEXTS)})
        body = self.one(TEXTS) + self.one(TEXTS, ("",))
        level = self.one(LEVELS)
        return (
            START + self.random.randrange(spread_us),
            service,
            level[0],
            level[1],
            body,
            self.one((NO_TRACE, "AB" * 16, "0" * 30 + "10", "ABCDEF" + "0" * 26)),
            self.one((NO_SPAN, "CD" * 8)),
            0,
            self.one(("", "lib@1.0")),
            f"event {number}" if number else "",
            own,
            resource.attributes,
            resource.fingerprint,
            byte_length(body) + size_of(own) + resource.size,
        )

    def group(self, depth: int = 0) -> dict[str, Any]:
        members = [
            self.group(depth + 1) if depth < 3 and self.random.random() < 0.3 else self.part()
            for _ in range(self.random.randrange(4))
        ]
        return {"type": self.one(("AND", "OR")), "values": members}

    def part(self) -> dict[str, Any]:
        kind = self.one(("log", "log_attribute", "log_attribute", "log_resource_attribute"))
        key = self.one(ALL_FIELDS) if kind == "log" else self.one(KEYS)
        return {"type": kind, "key": key, **self.test(numeric=kind != "log")}

    def test(self, *, numeric: bool) -> dict[str, Any]:
        chosen = self.random.random()
        if chosen < 0.1:
            return {"operator": self.one(("is_set", "is_not_set"))}
        if chosen < 0.2:
            return {"operator": self.one(("regex", "not_regex")), "value": self.values(PATTERNS)}
        if chosen < 0.4 and numeric:
            return self.numeric()
        if chosen < 0.5 and numeric:
            return {
                "operator": self.one(("is_date_exact", "is_date_before", "is_date_after")),
                "value": self.one(DATES[:8], DATES[9:12]),
            }
        operator = self.one(TEXT_OPERATORS)
        pools = (
            TEXTS,
            NUMBERS,
            DATES,
            ("Info", "ABCDEF", "cd", "api", "lib@1.0", "event 7"),
            (10, -10, 0, 1.5, 1e300, True),
        )
        values = [self.one(*pools) for _ in range(self.random.randrange(4))]
        single = values and operator not in ("in", "not_in") and self.random.random() < 0.5
        return {"operator": operator, "value": values[0] if single else values}

    def numeric(self) -> dict[str, Any]:
        bound = self.one(
            (0, 10, -10, 1.5, 99, "10.0", "9007199254740992", "1e400", "-1e400", "1e-400", "-0.5")
        )
        if self.random.random() < 0.3:
            low, high = self.one(
                ((-10, 10), ("0", 99.5), (0, 0), ("-1e400", "1e400"), (10, 9007199254740993))
            )
            return {"operator": self.one(("between", "not_between")), "value": [low, high]}
        return {"operator": self.one(("gt", "gte", "lt", "lte", "min", "max")), "value": bound}

    def values(self, pool: tuple[Any, ...]) -> Any:
        return self.one(pool) if self.random.random() < 0.6 else [self.one(pool) for _ in range(2)]


def as_record(row: Row) -> dict[str, Any]:
    """A row as the plain model looks at it."""
    return {
        "timestamp": row[0],
        "service_name": row[1],
        "severity_text": row[2],
        "body": row[4],
        "trace_id": row[5],
        "span_id": row[6],
        "instrumentation_scope": row[8],
        "event_name": row[9],
        "attributes": row[10],
        "resource_attributes": row[11],
        "bytes": row[13],
    }
