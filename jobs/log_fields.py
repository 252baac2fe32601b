"""Readers for the members that log requests share, from a JSON body or from query parameters.

Unlike `jobs/fields.py` they do not trim: blanks around a search term or a service name count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from jobs.errors import ValidationFailed
from jobs.json_text import JsonSyntaxError, load_json
from jobs.log_filters import refuse_surrogates

SEVERITIES: Final = ("trace", "debug", "info", "warn", "error", "fatal")
MAX_SEARCH_CHARS: Final = 1000
_INTEGER = re.compile(r"-?[0-9]{1,4000}")
_DIGITS = re.compile(r"[0-9]+")


def severities(value: object, *, attr: str) -> tuple[str, ...]:
    """The named levels in lower case, in the order of severity, once each."""
    names = text_list(value, attr=attr)
    levels = {name.lower() for name in names}
    for name in names:
        if name.lower() not in SEVERITIES:
            raise ValidationFailed(
                f"severityLevels: the levels are {', '.join(SEVERITIES)}.", attr=attr, code="invalid_choice"
            )
    return tuple(level for level in SEVERITIES if level in levels)


def text_list(value: object, *, attr: str) -> tuple[str, ...]:
    """A list of texts, sorted, once each; null is empty."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValidationFailed(f"{_name(attr)} must be a list of texts.", attr=attr)
    for item in value:
        refuse_surrogates(item, attr=attr)
    return tuple(sorted(set(value)))


def search_term(value: object, *, attr: str) -> str:
    """A text of at most 1000 characters; null is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValidationFailed(f"{_name(attr)} must be a text.", attr=attr)
    if len(value) > MAX_SEARCH_CHARS:
        raise ValidationFailed(
            f"{_name(attr)} has more than {MAX_SEARCH_CHARS} characters.", attr=attr, code="max_length"
        )
    refuse_surrogates(value, attr=attr)
    return value


def fingerprint(value: object, *, attr: str) -> str | None:
    """Decimal digits as a text or a JSON integer."""
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _DIGITS.fullmatch(text):
        raise ValidationFailed("resourceFingerprint must be decimal digits.", attr=attr)
    return text


def flag(value: object, *, attr: str) -> bool:
    if value is None:
        return False
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValidationFailed(f"{_name(attr)} must be true or false.", attr=attr)


def choice(value: object, choices: tuple[str, ...], *, attr: str) -> str:
    """One of `choices`; null is the first."""
    if value is None:
        return choices[0]
    if not isinstance(value, str) or value not in choices:
        raise ValidationFailed(
            f"{_name(attr)} must be one of {', '.join(choices)}.", attr=attr, code="invalid_choice"
        )
    return value


def positive(value: object, *, attr: str) -> int:
    """A JSON integer from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValidationFailed(f"{_name(attr)} must be an integer.", attr=attr)
    if value < 1:
        raise ValidationFailed(f"{_name(attr)} must be at least 1.", attr=attr, code="min_value")
    return value


def parameter_number(
    params: Mapping[str, str], name: str, *, default: int, low: int, high: int | None
) -> int:
    """An integer of the query string within `low` to `high`."""
    if name not in params:
        return default
    text = params[name]
    if not _INTEGER.fullmatch(text):
        raise ValidationFailed(f"{name} must be an integer.", attr=name)
    value = int(text)
    if value < low:
        raise ValidationFailed(f"{name} must be at least {low}.", attr=name, code="min_value")
    if high is not None and value > high:
        raise ValidationFailed(f"{name} must be at most {high}.", attr=name, code="max_value")
    return value


def parameter_json(params: Mapping[str, str], name: str) -> object:
    """A parameter that is a JSON text; absent is null."""
    if name not in params:
        return None
    try:
        return load_json(params[name].encode("utf-8", "surrogatepass"))
    except JsonSyntaxError as error:
        raise ValidationFailed(f"{name} is not valid JSON.", attr=name) from error


def _name(attr: str) -> str:
    return attr.rsplit("__", 1)[-1]
