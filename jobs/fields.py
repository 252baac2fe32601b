"""Read the members of a request body, in the order in which their errors are reported.

Every method takes the member's name and either returns its value or raises `ValidationFailed` with the
code and the `attr` that the API documents. Unknown members are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, cast

from jobs.errors import ValidationFailed


class _Required:
    """Marks a member without a default."""


REQUIRED: Final = _Required()

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}\Z")
SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Fields:
    """The members of one JSON object; `prefix` is what its own `attr` is, for nested objects."""

    def __init__(self, source: Mapping[str, object], *, prefix: str = "") -> None:
        self.source = source
        self._prefix = prefix

    def attr(self, name: str) -> str:
        return f"{self._prefix}__{name}" if self._prefix else name

    def fail(self, name: str, code: str, detail: str) -> ValidationFailed:
        return ValidationFailed(detail, attr=self.attr(name), code=code)

    def choice(self, name: str, choices: Collection[str], default: str | _Required = REQUIRED) -> str:
        """One of `choices`, case-sensitive."""
        if self._absent(name, default):
            return cast("str", default)
        value = self._present(name)
        if not isinstance(value, str) or value not in choices:
            fit = isinstance(value, str) and len(value) <= 100 and value.isprintable()
            shown = f'"{value}"' if fit else "This value"
            raise self.fail(name, "invalid_choice", f"{shown} is not a valid choice.")
        return value

    def flag(self, name: str, default: bool | None) -> bool | None:
        """JSON true or false, or the texts `true` and `false`."""
        if name not in self.source:
            return default
        value = self._present(name)
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise self.fail(name, "invalid_input", "Must be a valid boolean.")

    def natural(self, name: str, default: int | None, *, least: int = 0) -> int | None:
        """An integer from `least`: also `12.0` and `"12"`, never a boolean."""
        if name not in self.source:
            return default
        number = _integer_of(self._present(name))
        if number is None:
            raise self.fail(name, "invalid_input", "A valid integer is required.")
        if number < least:
            raise self.fail(name, "min_value", f"Ensure this value is greater than or equal to {least}.")
        return number

    def obj(self, name: str, default: dict[str, object] | _Required = REQUIRED) -> dict[str, object]:
        if self._absent(name, default):
            return cast("dict[str, object]", default)
        value = self._present(name)
        if not isinstance(value, dict):
            raise self.fail(name, "invalid_input", "A JSON object is required.")
        return value

    def text(self, name: str, *, default: str | None, max_length: int, nullable: bool = False) -> str | None:
        """Text, trimmed of outer blanks; blank counts as the default when the member is nullable."""
        if name not in self.source:
            return default
        if nullable and self.source[name] is None:
            return default
        value = self._present(name)
        if not isinstance(value, str):
            raise self.fail(name, "invalid_input", "Not a valid string.")
        if "\0" in value:
            raise self.fail(name, "null_characters_not_allowed", "Null characters are not allowed.")
        if SURROGATE.search(value):
            raise self.fail(name, "surrogate_characters_not_allowed", "Surrogate characters are not allowed.")
        value = value.strip()
        if len(value) > max_length:
            raise self.fail(
                name, "max_length", f"Ensure this field has no more than {max_length} characters."
            )
        return default if nullable and not value else value

    def _absent(self, name: str, default: object) -> bool:
        if name in self.source:
            return False
        if default is REQUIRED:
            raise self.fail(name, "required", "This field is required.")
        return True

    def _present(self, name: str) -> object:
        value = self.source[name]
        if value is None:
            raise self.fail(name, "null", "This field may not be null.")
        return value


def object_body(value: object) -> dict[str, object]:
    """The top level of a request body."""
    if not isinstance(value, dict):
        raise ValidationFailed("The body must be a JSON object.", attr=None)
    return value


def _integer_of(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and _INTEGER.match(value.strip()):
        return int(value.strip())
    return None
