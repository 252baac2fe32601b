"""Where a connect flow may lead back to: local paths, and addresses at origins that the settings name.

Strict on purpose. What a browser makes of a path with blanks, backslashes or encoded slashes differs from
what a parser makes of it, so such paths are refused instead of interpreted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from jobs.errors import ValidationFailed

MAX_NEXT: Final = 2048

_ORIGIN = re.compile(r"https?://(?:[A-Z0-9.\-]+|\[[0-9A-F:.]+\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}
_KEPT = "!#$%&'()*+,/:;=?@[]~"


def check_next(text: str, *, origins: Collection[str]) -> str:
    """The text itself, when it is a local path or an address at one of `origins` (in lower case).

    Raises:
        ValidationFailed: `attr` is `next`.
    """
    if len(text) > MAX_NEXT:
        detail = f"Ensure this field has no more than {MAX_NEXT:,} characters."
        raise ValidationFailed(detail, attr="next", code="max_length")
    decoded = unquote(text)
    plain = not any(map(_is_refused, text)) and not any(map(_is_refused, decoded))
    if plain and ((_is_local(text) and _is_local(decoded)) or _is_at(text, origins)):
        return text
    raise ValidationFailed(
        "Must be a path with one slash in front, or an address at an origin of TRACEGIST_REDIRECT_ORIGINS.",
        attr="next",
    )


def with_query(address: str, **members: str) -> str:
    """The address with more members in its query, as ASCII for a header."""
    parts = urlsplit(address)
    query = "&".join(part for part in (parts.query, urlencode(members)) if part)
    return quote(urlunsplit(parts._replace(query=query)), safe=_KEPT)


def _is_local(text: str) -> bool:
    return text.startswith("/") and text[1:2] != "/"


def _is_at(text: str, origins: Collection[str]) -> bool:
    origin = _ORIGIN.match(text)
    if origin is None or origin[0].lower() not in origins:
        return False
    return text[origin.end() : origin.end() + 1] in ("", "/", "?", "#")


def _is_refused(character: str) -> bool:
    return character == "\\" or unicodedata.category(character) in _REFUSED_CATEGORIES
