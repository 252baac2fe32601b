"""What an answer is worked out with: the reader of one project's records, the time, and the zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol

from workers.logs.errors import QueryTimeout
from workers.logs.statement import Statement


class Reader(Protocol):
    """Bound to one project, and to the time that the request may still take."""

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        """The rows of the statement.

        Raises:
            QueryTooLarge, QueryTimeout, QueryCanceled, StoreBusy, StoreUnavailable
        """
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """`clock` and `deadline` are seconds of one clock; `zone` is the project's."""

    reader: Reader
    clock: Callable[[], float]
    deadline: float
    zone: tzinfo

    @property
    def late(self) -> bool:
        return self.clock() >= self.deadline

    def read(self, statement: Statement) -> list[tuple[object, ...]]:
        if self.late:
            raise QueryTimeout("The query took too long. Narrow the range or the filters.")
        return self.reader.run(statement)


def whole(value: object) -> int:
    """A number of the store as one of ours."""
    return int(str(value))
