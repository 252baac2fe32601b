"""Rows for the store's tests, and short ways to read them back."""

from __future__ import annotations

from datetime import UTC, datetime

from workers.logs.records import NO_SPAN, NO_TRACE, Resource, Row, byte_length, size_of
from workers.logs.statement import Statement
from workers.logs.store import LogStore

START = 1_767_225_600_000_000  # 2026-01-01 in microseconds


def row(
    number: int = 0,
    *,
    body: str = "",
    level: tuple[str, int] = ("info", 9),
    service: str = "api",
    attributes: dict[str, str] | None = None,
) -> Row:
    """The record `number` seconds after `START`."""
    resource = Resource.of({"service.name": service})
    own = attributes or {}
    text = body or f"record {number}"
    size = byte_length(text) + size_of(own) + resource.size
    return (
        START + number * 1_000_000,
        service,
        level[0],
        level[1],
        text,
        NO_TRACE,
        NO_SPAN,
        0,
        "",
        "",
        own,
        resource.attributes,
        resource.fingerprint,
        size,
    )


def rows(count: int) -> list[Row]:
    """Records over some hours, of several services and levels, with attributes."""
    levels = [("info", 9), ("error", 17), ("debug", 5)]
    return [
        row(
            number * 7,
            level=levels[number % 3],
            service=f"service-{number % 4}",
            attributes={"http.status": str(number % 5), f"key{number % 3}": "x"},
        )
        for number in range(count)
    ]


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(START / 1_000_000 + seconds, UTC)


def read(store: LogStore, project: int, statement: Statement) -> list[tuple[object, ...]]:
    return store.run(project, statement, deadline_s=30)


def counts(store: LogStore, project: int) -> tuple[object, ...]:
    """Records, their bytes and keys; then the same from the rollups."""
    raw = read(
        store,
        project,
        Statement(
            "logs",
            "count(), sum(bytes), sum(length(attributes)), sum(length(resource_attributes))",
        ),
    )[0]
    minutes = read(store, project, Statement("logs_minute", "sum(count), sum(bytes)"))[0]
    keys = read(
        store,
        project,
        Statement(
            "logs_attr_keys",
            "sumIf(count, attribute_type = 'log'), sumIf(count, attribute_type = 'resource')",
        ),
    )[0]
    return (raw, (*minutes, *keys))
