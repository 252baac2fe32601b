"""Turn the filters of a request into one condition over the table of records or a rollup.

Values always travel as parameters; only the column names written here reach the SQL text. Every condition is
0 or 1, never NULL, so that a negative operator is the exact complement of its positive one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Final, TypeAlias

from jobs.log_filters import FOLDED_FIELDS, Filter, Group, Node
from jobs.log_models import LogFilters
from workers.logs.conditions import ALWAYS, NEVER, Binder, all_of, any_of
from workers.logs.folding import certain_parts, folded_patterns, like_pattern
from workers.logs.numbers import number_condition
from workers.logs.text_dates import date_condition

_MAPS: Final = {"attribute": "attributes", "resource_attribute": "resource_attributes"}
_IDS: Final[Mapping[str, int]] = {"trace_id": 32, "span_id": 16}
_ROLLED_UP: Final = frozenset({"severity_text", "service_name"})
_MAX_UINT64: Final = (1 << 64) - 1
# Beyond, the index's look-ups cost more than they save.
_MAX_INDEXED_VALUES: Final = 16


def condition(filters: LogFilters, binder: Binder, *, zone: tzinfo) -> str:
    """What a record must meet; `ALWAYS` without filters."""
    return all_of((
        f"severity_text IN {binder.texts(filters.severities)}" if filters.severities else ALWAYS,
        f"service_name IN {binder.texts(filters.services)}" if filters.services else ALWAYS,
        _fingerprint(filters.fingerprint, binder),
        body_contains(filters.search, binder) if filters.search else ALWAYS,
        _group(filters.group, binder, zone),
    ))  # fmt: skip


def only_rolled_up(filters: LogFilters) -> bool:
    """Whether severity and service decide, so that a rollup can answer."""
    return not filters.search and filters.fingerprint is None and _rolled_up(filters.group)


def body_contains(term: str, binder: Binder) -> str:
    """Candidates by the index of the body's lower case, then the exact test."""
    candidates = [f"lowerUTF8(body) LIKE {binder.text(like_pattern(part))}" for part in certain_parts(term)]
    return all_of((*candidates, contains("body", [term], binder)))


def contains(text: str, terms: list[str], binder: Binder) -> str:
    """Whether the text contains one of the terms, ignoring case."""
    return any_of(f"match({text}, {binder.text(pattern)})" for pattern in folded_patterns(terms))


def _rolled_up(group: Group) -> bool:
    return all(
        _rolled_up(member)
        if isinstance(member, Group)
        else member.subject.kind == "field" and member.subject.name in _ROLLED_UP
        for member in group.members
    )


def _fingerprint(digits: str | None, binder: Binder) -> str:
    if digits is None:
        return ALWAYS
    # Compared as the text that the record shows: leading zeros are another text.
    if digits != (digits.lstrip("0") or "0") or len(digits) > 20 or int(digits) > _MAX_UINT64:
        return NEVER
    return f"resource_fingerprint = {binder.unsigned(int(digits))}"


def _group(group: Group, binder: Binder, zone: tzinfo) -> str:
    if not group.members:
        return ALWAYS
    conditions = [_node(member, binder, zone) for member in group.members]
    return any_of(conditions) if group.any_of else all_of(conditions)


def _node(node: Node, binder: Binder, zone: tzinfo) -> str:
    if isinstance(node, Group):
        return _group(node, binder, zone)
    positive = _positive(node, binder, zone)
    return f"NOT ({positive})" if node.negated else positive


def _positive(part: Filter, binder: Binder, zone: tzinfo) -> str:
    if part.subject.kind == "field":
        return _field(part, binder)
    column = _MAPS[part.subject.kind]
    key = binder.text(part.subject.name)
    present = f"mapContains({column}, {key})"
    if part.operator == "set":
        return present
    text = f"{column}[{key}]"
    return all_of((present, *_indexed(part, column, binder), _tested(part, text, binder, zone)))


def _indexed(part: Filter, column: str, binder: Binder) -> list[str]:
    """For equality: the values that the bloom filter of the map's values can look up."""
    values = [value.text for value in part.values]
    usable = (
        part.operator == "exact"
        and not part.negated
        and len(values) <= _MAX_INDEXED_VALUES
        and all(values)
        and not any(value.number for value in part.values)
    )
    return [f"hasAny(mapValues({column}), {binder.texts(values)})"] if usable else []


def _field(part: Filter, binder: Binder) -> str:
    name = part.subject.name
    if part.operator == "set":
        return f"{name} != {binder.text('0' * _IDS[name] if name in _IDS else '')}"
    if part.operator == "exact" and name in _IDS and not any(value.number for value in part.values):
        return f"{name} IN {binder.texts([value.text.upper() for value in part.values])}"
    if part.operator == "contains" and name == "body" and len(part.values) == 1:
        return body_contains(part.values[0].text, binder)
    if part.operator == "regex" and name in FOLDED_FIELDS:
        return any_of(f"match({name}, {binder.text('(?i)' + value.text)})" for value in part.values)
    return _tested(part, f"lower({name})" if name in _IDS else name, binder, None)


def _tested(part: Filter, text: str, binder: Binder, zone: tzinfo | None) -> str:
    if part.numbers:
        return number_condition(text, part.operator, part.numbers, binder)
    if part.date is not None and zone is not None:
        return date_condition(text, part.operator, part.date.instant, binder, zone=zone)
    return _TEXT_TESTS[part.operator](part, text, binder)


def _exact(part: Filter, text: str, binder: Binder) -> str:
    texts = [value.text for value in part.values if value.number is None]
    numbers = tuple(value.number for value in part.values if value.number is not None)
    return any_of((
        *([f"{text} IN {binder.texts(texts)}"] if texts else []),
        *([number_condition(text, "exact", numbers, binder)] if numbers else []),
    ))  # fmt: skip


def _contains(part: Filter, text: str, binder: Binder) -> str:
    return contains(text, [value.text for value in part.values], binder)


def _starts(part: Filter, text: str, binder: Binder) -> str:
    return f"arrayExists(v -> startsWith({text}, v), {_bound(part, binder)})"


def _ends(part: Filter, text: str, binder: Binder) -> str:
    return f"arrayExists(v -> endsWith({text}, v), {_bound(part, binder)})"


def _regex(part: Filter, text: str, binder: Binder) -> str:
    return any_of(f"match({text}, {binder.text(value.text)})" for value in part.values)


def _bound(part: Filter, binder: Binder) -> str:
    return binder.texts([value.text for value in part.values])


_Test: TypeAlias = Callable[[Filter, str, Binder], str]
_TEXT_TESTS: Final[Mapping[str, _Test]] = {
    "exact": _exact,
    "contains": _contains,
    "starts_with": _starts,
    "ends_with": _ends,
    "regex": _regex,
}
