"""Write `docs/reference/settings.md` from the Settings class; `--check` only compares."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from config.providers import KINDS, OAuthOptions
from config.settings import Settings, oauth_variable, variable_of

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

HEAD = """\
# Settings

Read once at the start of a process, from the environment only. `NAME_FILE` names a file that holds the value
of `NAME`, for mounted secrets; `NAME` wins when both are set. An empty variable counts as not set. Lists are
separated by commas, tables are JSON. A value of the wrong form stops the process with the variable's name.

This page is made from `config/settings.py` by `python scripts/settings_reference.py`."""

PROVIDERS_HEAD = """\
## OAuth providers

A provider without a client id and a client secret cannot be connected. Empty addresses and scopes are those
of the provider, from `config/providers.py`."""

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, names in _sections().items():
        parts.append(f"\n## {title[0].upper()}{title[1:]}\n\n| variable | value | default | meaning |")
        parts.append("|---|---|---|---|")
        parts += [_row(variable_of(name), Settings.model_fields[name]) for name in names]
    parts.append(f"\n{PROVIDERS_HEAD}\n\n| variable | value | default | meaning |\n|---|---|---|---|")
    kinds = ", ".join(f"`{oauth_variable(kind, '')}`" for kind in KINDS[1:])
    parts += [
        _row(oauth_variable(KINDS[0], name), field) for name, field in OAuthOptions.model_fields.items()
    ]
    parts.append(f"\nThe same names for the other providers begin with {kinds}.")
    return "\n".join(parts) + "\n"


def _sections() -> dict[str, list[str]]:
    """The fields under the comments that head them in the class."""
    sections: dict[str, list[str]] = {}
    current = "general"
    for line in inspect.getsource(Settings).splitlines():
        if heading := re.fullmatch(r" {4}# (.+)", line):
            current = heading[1]
        elif (field := re.match(r" {4}(\w+):", line)) and field[1] in Settings.model_fields.keys() - {
            "oauth"
        }:
            sections.setdefault(current, []).append(field[1])
    return sections


def _row(variable: str, field: FieldInfo) -> str:
    cells = [f"`{variable}`", _value(field), _default(field), field.description or ""]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _value(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, kind):g}"
        for rule in field.metadata
        for kind, sign in BOUNDS.items()
        if getattr(rule, kind, None) is not None
    ]
    return " ".join([_kind(field.annotation), *bounds])


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return " ".join(f"`{choice}`" for choice in get_args(annotation))
    if origin is tuple:
        return "list"
    if origin is dict:
        return "table"
    if origin is types.UnionType:
        return _kind(get_args(annotation)[0])
    names = {bool: "`true` `false`", int: "whole number", float: "number", Path: "path"}
    return names.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, dict):
        return "<br>".join(f"`{key}`: {number}" for key, number in value.items())
    whole = isinstance(value, float) and value.is_integer()
    return f"`{int(value)}`" if whole else f"`{value}`"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        fresh = PAGE.exists() and PAGE.read_text() == reference()
        print("" if fresh else f"{PAGE.name} is out of date; run scripts/settings_reference.py", end="")
        return 0 if fresh else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
