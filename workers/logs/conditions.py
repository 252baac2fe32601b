"""Conditions as text with the values beside it, to be put together without ever quoting a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

BindType: TypeAlias = Literal["String", "Array(String)", "UInt64", "Int64", "Array(Int64)", "Float64", "UUID"]
ALWAYS: Final = "1"
NEVER: Final = "0"


class Binder:
    """Hands out a placeholder for every value; equal values share one."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, object], str] = {}
        self.parameters: dict[str, object] = {}

    def text(self, value: str) -> str:
        return self._bind("String", value, value)

    def texts(self, values: Sequence[str]) -> str:
        return self._bind("Array(String)", tuple(values), list(values))

    def number(self, value: int) -> str:
        return self._bind("Int64", value, value)

    def numbers(self, values: Sequence[int]) -> str:
        return self._bind("Array(Int64)", tuple(values), list(values))

    def real(self, value: float) -> str:
        return self._bind("Float64", value, value)

    def unsigned(self, value: int) -> str:
        return self._bind("UInt64", value, value)

    def identity(self, value: str) -> str:
        return self._bind("UUID", value, value)

    def _bind(self, kind: BindType, key: object, value: object) -> str:
        name = self._names.setdefault((kind, key), f"p{len(self._names)}")
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def all_of(conditions: Iterable[str]) -> str:
    parts = [condition for condition in conditions if condition != ALWAYS]
    return _joined(parts, " AND ") if parts else ALWAYS


def any_of(conditions: Iterable[str]) -> str:
    """One of them; of none: never."""
    return _joined(list(conditions), " OR ") or NEVER


def _joined(parts: Sequence[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else word.join(f"({part})" for part in parts)
