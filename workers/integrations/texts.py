"""Reading what third parties answer: members by path, and texts that a database can hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_NAME: Final = 200
MAX_EXTERNAL_ID: Final = 512
MIN_SECRET: Final = 16  # a shorter text is found in names that have nothing to do with it

_DROPPED = {"Cc", "Cs"}


def member(value: object, path: str) -> object:
    """The member at `a.0.b`; None when there is none."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def text_of(value: object, *, max_length: int) -> str:
    """A text or number as a text without control characters, cut; empty for everything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    kept = (sign for sign in str(value) if unicodedata.category(sign) not in _DROPPED)
    return "".join(kept).strip()[:max_length]


def holds_secret(text: str, secrets: Iterable[str]) -> bool:
    """Whether somebody answered with a secret in a place whose content is shown."""
    return any(len(secret) >= MIN_SECRET and secret in text for secret in secrets)
