"""The options of a rendering, with the lenient reading a library call gets.

The strict reading, with an error for each wrong type, belongs to the request models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may choose; the defaults are those of the API."""

    max_length: int = 4_000_000
    truncated: bool = True
    truncate_buffer: int = 1000
    include_markers: bool = True
    collapsed: bool = False
    include_hierarchy: bool = True
    max_depth: int | None = None
    tools_collapse_threshold: int = 5
    include_line_numbers: bool = False

    @classmethod
    def from_mapping(cls, raw: object) -> Options:
        """Read options leniently: unknown ones are ignored, wrong types give the default."""
        if not isinstance(raw, Mapping):
            return cls()
        chosen: dict[str, Any] = {
            field.name: _read(raw[field.name], field.default) for field in fields(cls) if field.name in raw
        }
        return cls(**chosen)


def _read(value: object, default: object) -> object:
    if isinstance(default, bool):
        return value if isinstance(value, bool) else default
    if isinstance(value, int) and not isinstance(value, bool):
        return max(value, 0)
    return default
