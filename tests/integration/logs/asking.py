"""Short ways to ask the store what the API would be asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, cast

from jobs import logs
from workers.logs import answers
from workers.logs.reading import Sight
from workers.logs.statement import Statement
from workers.logs.store import LogStore


@dataclass
class ProjectReader:
    """Reads one project, and keeps what it was asked."""

    store: LogStore
    project: int
    asked: list[Statement] = field(default_factory=list)

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        self.asked.append(statement)
        return self.store.run(self.project, statement, deadline_s=60)


@dataclass
class Asking:
    """One project's answers at a fixed time."""

    store: LogStore
    project: int
    now: datetime = datetime(2026, 6, 1, tzinfo=UTC)
    zone: tzinfo = UTC
    clock: Callable[[], float] = time.monotonic
    patience_s: float = 60
    reader: ProjectReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = ProjectReader(self.store, self.project)

    def sight(self) -> Sight:
        return Sight(self.reader, self.clock, self.clock() + self.patience_s, self.zone)

    def page(self, query: Mapping[str, object]) -> dict[str, Any]:
        parsed = logs.parse_query({"query": query}, now=self.now, timezone=self.zone)
        answer = answers.answer_query(parsed, self.sight(), checkpoint=self.store.checkpoint())
        return cast("dict[str, Any]", answer.body)

    def pages(self, query: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = self.page({**query, "after": cursor})
            yield page
            cursor = page["nextCursor"]
            assert page["hasMore"] == (cursor is not None)
            if cursor is None:
                return

    def records(self, query: Mapping[str, object]) -> list[dict[str, Any]]:
        return [record for page in self.pages(query) for record in page["results"]]

    def sparkline(self, query: Mapping[str, object]) -> answers.Answer:
        parsed = logs.parse_sparkline({"query": query}, now=self.now, timezone=self.zone)
        return answers.answer_sparkline(parsed, self.sight())

    def attributes(self, params: Mapping[str, str]) -> dict[str, Any]:
        parsed = logs.parse_attributes(params, now=self.now, timezone=self.zone)
        return cast("dict[str, Any]", answers.answer_attributes(parsed, self.sight()).body)

    def values(self, params: Mapping[str, str]) -> dict[str, Any]:
        parsed = logs.parse_values(params, now=self.now, timezone=self.zone)
        return cast("dict[str, Any]", answers.answer_values(parsed, self.sight()).body)
