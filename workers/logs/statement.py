"""One bounded read of the log store, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.logs.schema import Table


@dataclass(frozen=True, slots=True)
class Statement:
    """One bounded read of one table. The project condition is not part of it: the store adds it."""

    table: Table
    columns: str
    where: str = "1"
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Named in the text as `{p0:String}`; every text that a user gave is one of these."""
    tail: str = ""
    """GROUP BY, ORDER BY, LIMIT."""
    settings: Mapping[str, int | str] = field(default_factory=dict)
    """For example `max_rows_to_read` with `read_overflow_mode`; they win over the store's own."""
