"""Write a filter tree back as a `filterGroup`, in one spelling for all that mean the same."""

from __future__ import annotations

from typing import Final

from jobs.log_dates import iso_z
from jobs.log_filters import Filter, Group, Node, TextValue
from jobs.log_numbers import Number

_NAMES: Final = {
    ("exact", False): "exact",
    ("exact", True): "is_not",
    ("contains", False): "icontains",
    ("contains", True): "not_icontains",
    ("starts_with", False): "starts_with",
    ("starts_with", True): "not_starts_with",
    ("ends_with", False): "ends_with",
    ("ends_with", True): "not_ends_with",
    ("regex", False): "regex",
    ("regex", True): "not_regex",
    ("between", False): "between",
    ("between", True): "not_between",
    ("date_exact", False): "is_date_exact",
    ("date_before", False): "is_date_before",
    ("date_after", False): "is_date_after",
    ("set", False): "is_set",
    ("set", True): "is_not_set",
}
_TYPES: Final = {
    "field": "log",
    "attribute": "log_attribute",
    "resource_attribute": "log_resource_attribute",
}


def normal_group(group: Group) -> dict[str, object]:
    kind = "OR" if group.any_of and len(group.members) > 1 else "AND"
    return {"type": kind, "values": [_node(member) for member in group.members]}


def depends_on_now(group: Group) -> bool:
    """Whether a value is a relative date, so that the filter means something else every time."""
    return any(
        depends_on_now(member)
        if isinstance(member, Group)
        else member.date is not None and member.date.relative is not None
        for member in group.members
    )


def _node(node: Node) -> dict[str, object]:
    return normal_group(node) if isinstance(node, Group) else _filter(node)


def _filter(part: Filter) -> dict[str, object]:
    shown: dict[str, object] = {
        "type": _TYPES[part.subject.kind],
        "key": part.subject.name,
        "operator": _NAMES.get((part.operator, part.negated), part.operator),
    }
    if part.values:
        shown["value"] = [_value(value) for value in part.values]
    elif part.numbers:
        shown["value"] = [_number(number) for number in part.numbers]
    elif part.date is not None:
        shown["value"] = part.date.relative or iso_z(part.date.instant)
    return shown


def _value(value: TextValue) -> object:
    if value.number is None:
        return value.text
    return float(value.text) if any(mark in value.text for mark in ".e") else int(value.text)


def _number(number: Number) -> str:
    """The number as a text that reads back to it: its digits as an integer, and an exponent."""
    if not number.digits:
        return "0"
    exponent = number.exponent - len(number.digits)
    return f"{'-' if number.negative else ''}{number.digits}e{'-' if exponent < 0 else '+'}{abs(exponent)}"
