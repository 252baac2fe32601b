"""Read filter groups of log requests into a typed tree.

Every operator is kept in its positive form with `negated` beside it, and with its operand already read, so
that what compiles the tree checks nothing. A filter whose value is `[]` is not in the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Literal, TypeAlias

import re2

from jobs.errors import ValidationFailed
from jobs.log_dates import NotADate, is_relative, parse_date
from jobs.log_numbers import Number, is_finite, number_text, parse_number

MAX_FILTERS: Final = 200
MAX_GROUP_DEPTH: Final = 5
MAX_VALUES: Final = 1000
MAX_PATTERN_CHARS: Final = 1000
MAX_PATTERNS: Final = 2000  # in one request; each is a condition of its own
MAX_CONTAINED_CHARS: Final = 65_536  # no attribute's value is longer

Operator: TypeAlias = Literal[
    "exact", "contains", "starts_with", "ends_with", "regex", "gt", "gte", "lt", "lte", "between",
    "date_exact", "date_before", "date_after", "set",
]  # fmt: skip
Field: TypeAlias = Literal[
    "body", "severity_text", "service_name", "trace_id", "span_id", "event_name", "instrumentation_scope"
]

# Operator of the API -> what it tests, and whether it is the complement of that.
OPERATORS: Final[Mapping[str, tuple[Operator, bool]]] = {
    "exact": ("exact", False),
    "in": ("exact", False),
    "is_not": ("exact", True),
    "not_in": ("exact", True),
    "icontains": ("contains", False),
    "icontains_multi": ("contains", False),
    "not_icontains": ("contains", True),
    "not_icontains_multi": ("contains", True),
    "starts_with": ("starts_with", False),
    "not_starts_with": ("starts_with", True),
    "ends_with": ("ends_with", False),
    "not_ends_with": ("ends_with", True),
    "regex": ("regex", False),
    "not_regex": ("regex", True),
    "gt": ("gt", False),
    "gte": ("gte", False),
    "min": ("gte", False),
    "lt": ("lt", False),
    "lte": ("lte", False),
    "max": ("lte", False),
    "between": ("between", False),
    "not_between": ("between", True),
    "is_date_exact": ("date_exact", False),
    "is_date_before": ("date_before", False),
    "is_date_after": ("date_after", False),
    "is_set": ("set", False),
    "is_not_set": ("set", True),
}
FIELDS: Final[Mapping[str, Field]] = {
    "message": "body",
    "body": "body",
    "severity_level": "severity_text",
    "severity_text": "severity_text",
    "level": "severity_text",
    "service_name": "service_name",
    "trace_id": "trace_id",
    "span_id": "span_id",
    "event_name": "event_name",
    "instrumentation_scope": "instrumentation_scope",
}
# Fields whose values are compared in lower case.
FOLDED_FIELDS: Final[frozenset[str]] = frozenset({"severity_text", "trace_id", "span_id"})
ATTRIBUTE_TYPES: Final = ("log_attribute", "log_resource_attribute")
FILTER_TYPES: Final = ("log", "log_entry", *ATTRIBUTE_TYPES)
_GROUP_TYPES: Final = ("AND", "OR")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter looks at: a field of the record (`name` is a `Field`), or one key of one of its maps."""

    kind: Literal["field", "attribute", "resource_attribute"]
    name: str


@dataclass(frozen=True, slots=True)
class TextValue:
    """`number` only when the value came as a JSON number: then it also equals other spellings of it."""

    text: str
    number: Number | None = None


@dataclass(frozen=True, slots=True)
class DateValue:
    """`relative` is the text when another `now` gives another instant."""

    instant: datetime
    relative: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """`values` belong to the text operators, `numbers` to the numeric ones (two for `between`)."""

    subject: Subject
    operator: Operator
    negated: bool = False
    values: tuple[TextValue, ...] = ()
    numbers: tuple[Number, ...] = ()
    date: DateValue | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """All members must match, or one of them for `any_of`; a group without members matches everything."""

    members: tuple[Node, ...] = ()
    any_of: bool = False


Node: TypeAlias = Filter | Group


@dataclass(frozen=True, slots=True)
class _Context:
    now: datetime
    zone: tzinfo
    count: list[int]
    patterns: list[str]


def parse_filter_group(value: object, *, now: datetime, zone: tzinfo, attr: str) -> Group:
    """Read `filterGroup` in any of its forms; what filters nothing is an empty group.

    Raises:
        ValidationFailed: `attr` leads to the member that is at fault, `detail` names the field.
    """
    context = _Context(now, zone, [0], [])
    if value is None or value in ([], {}):
        return Group()
    if isinstance(value, list):
        return Group(_members(value, context, attr=attr, depth=0))
    if not isinstance(value, Mapping):
        raise ValidationFailed("filterGroup must be a list of filters or a group.", attr=attr)
    return _group(value, context, attr=attr, depth=0)


def _group(value: Mapping[str, object], context: _Context, *, attr: str, depth: int) -> Group:
    kind = value.get("type", "AND")
    if kind not in _GROUP_TYPES:
        raise ValidationFailed('filterGroup: the type of a group is "AND" or "OR".', attr=f"{attr}__type")
    if depth > MAX_GROUP_DEPTH:
        raise ValidationFailed(
            f"filterGroup: groups nest deeper than {MAX_GROUP_DEPTH} levels below the outermost one.",
            attr=attr,
        )
    values = value.get("values")
    if not isinstance(values, list):
        raise ValidationFailed("filterGroup: the values of a group must be a list.", attr=f"{attr}__values")
    return Group(_members(values, context, attr=f"{attr}__values", depth=depth), any_of=kind == "OR")


def _members(values: Sequence[object], context: _Context, *, attr: str, depth: int) -> tuple[Node, ...]:
    members = []
    for position, value in enumerate(values):
        node = _member(value, context, attr=f"{attr}__{position}", depth=depth)
        if node is not None:
            members.append(node)
    return tuple(members)


def _member(value: object, context: _Context, *, attr: str, depth: int) -> Node | None:
    if not isinstance(value, Mapping) or not value:
        raise ValidationFailed("filterGroup: a member must be a filter or a group.", attr=attr)
    if _is_group(value):
        return _group(value, context, attr=attr, depth=depth + 1)
    context.count[0] += 1
    if context.count[0] > MAX_FILTERS:
        raise ValidationFailed(f"filterGroup: more than {MAX_FILTERS} filters.", attr=attr)
    return _filter(value, context, attr=attr)


def _is_group(value: Mapping[str, object]) -> bool:
    return value.get("type") in _GROUP_TYPES or ("values" in value and "key" not in value)


def _filter(value: Mapping[str, object], context: _Context, *, attr: str) -> Filter | None:
    subject = _subject(value, attr=attr)
    name = value.get("operator", "exact")
    if not isinstance(name, str) or name not in OPERATORS:
        raise ValidationFailed(
            f"filterGroup: unknown operator {_shown(name)}.", attr=f"{attr}__operator", code="invalid_choice"
        )
    operator, negated = OPERATORS[name]
    if operator == "set":
        return Filter(subject, operator, negated)
    value_attr = f"{attr}__value"
    if subject.kind == "field" and operator in _ATTRIBUTE_ONLY:
        raise ValidationFailed(
            f"filterGroup: operator {name} works on attributes only.", attr=f"{attr}__operator"
        )
    values = _values(value, name, attr=value_attr)
    if not values:
        return None
    return _READERS[operator](subject, operator, negated, values, context, value_attr)


def _subject(value: Mapping[str, object], *, attr: str) -> Subject:
    kind = value.get("type")
    if kind not in FILTER_TYPES:
        raise ValidationFailed(
            f"filterGroup: the type of a filter is one of {', '.join(FILTER_TYPES)}; not {_shown(kind)}.",
            attr=f"{attr}__type",
            code="required" if "type" not in value else "invalid_choice",
        )
    key = value.get("key")
    if not isinstance(key, str) or not key:
        raise ValidationFailed(
            "filterGroup: a filter needs a key.",
            attr=f"{attr}__key",
            code="required" if "key" not in value else "invalid_input",
        )
    refuse_surrogates(key, attr=f"{attr}__key")
    if kind in ATTRIBUTE_TYPES:
        return Subject("attribute" if kind == "log_attribute" else "resource_attribute", key)
    if key not in FIELDS:
        raise ValidationFailed(
            f"filterGroup: unknown log field {_shown(key)}; known are {', '.join(FIELDS)}.",
            attr=f"{attr}__key",
            code="invalid_choice",
        )
    return Subject("field", FIELDS[key])


def _values(source: Mapping[str, object], operator: str, *, attr: str) -> list[object]:
    """The value or values, each a text, number or boolean."""
    value = source.get("value")
    if value is None:
        code = "null" if "value" in source else "required"
        raise ValidationFailed(f"filterGroup: operator {operator} needs a value.", attr=attr, code=code)
    if not isinstance(value, list):
        if operator in ("in", "not_in"):
            raise ValidationFailed(f"filterGroup: operator {operator} needs a list.", attr=attr)
        value = [value]
    if len(value) > MAX_VALUES:
        raise ValidationFailed(f"filterGroup: more than {MAX_VALUES} values.", attr=attr, code="max_length")
    for item in value:
        if not isinstance(item, str | int | float) or (isinstance(item, float) and not is_finite(item)):
            raise ValidationFailed(
                "filterGroup: a value is a text, a number, a boolean, or a list of them.", attr=attr
            )
        if isinstance(item, str):
            refuse_surrogates(item, attr=attr)
    return value


def refuse_surrogates(text: str, *, attr: str) -> None:
    if _SURROGATE.search(text):
        raise ValidationFailed(
            f"{attr.rsplit('__', 1)[-1]}: surrogate characters are not allowed.",
            attr=attr,
            code="surrogate_characters_not_allowed",
        )


def _read_texts(
    subject: Subject, operator: Operator, negated: bool, values: list[object], _: _Context, attr: str
) -> Filter:
    folded = subject.kind == "field" and subject.name in FOLDED_FIELDS
    if operator == "contains" and any(len(_text(item)) > MAX_CONTAINED_CHARS for item in values):
        raise ValidationFailed(
            f"filterGroup: a value has more than {MAX_CONTAINED_CHARS} characters.",
            attr=attr,
            code="max_length",
        )
    return Filter(
        subject, operator, negated, values=tuple(_text_value(item, folded=folded) for item in values)
    )


def _text_value(value: object, *, folded: bool) -> TextValue:
    text = _text(value)
    number = parse_number(text) if _is_number(value) else None
    return TextValue(text.lower() if folded else text, number)


def _read_patterns(
    subject: Subject, operator: Operator, negated: bool, values: list[object], context: _Context, attr: str
) -> Filter:
    texts = [_text(item) for item in values]
    context.patterns.extend(texts)
    if len(context.patterns) > MAX_PATTERNS:
        raise ValidationFailed(f"filterGroup: more than {MAX_PATTERNS} patterns.", attr=attr)
    for text in texts:
        check_pattern(text, attr=attr)
    return Filter(subject, operator, negated, values=tuple(TextValue(text) for text in texts))


def check_pattern(pattern: str, *, attr: str) -> None:
    """Refuse what RE2 refuses, with its reason."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValidationFailed(
            f"filterGroup: a pattern has more than {MAX_PATTERN_CHARS} characters.",
            attr=attr,
            code="max_length",
        )
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise ValidationFailed(
            f"filterGroup: bad regular expression: {_reason(error)}.", attr=attr
        ) from error


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "not a pattern of RE2"
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _read_number(
    subject: Subject, operator: Operator, negated: bool, values: list[object], _: _Context, attr: str
) -> Filter:
    if len(values) != 1:
        raise ValidationFailed("filterGroup: this operator takes one number.", attr=attr)
    return Filter(subject, operator, negated, numbers=(_number(values[0], attr=attr),))


def _read_bounds(
    subject: Subject, operator: Operator, negated: bool, values: list[object], _: _Context, attr: str
) -> Filter:
    if len(values) != 2:
        raise ValidationFailed("filterGroup: this operator takes two numbers, [low, high].", attr=attr)
    low, high = (_number(item, attr=attr) for item in values)
    if low > high:
        raise ValidationFailed("filterGroup: low is above high.", attr=attr)
    return Filter(subject, operator, negated, numbers=(low, high))


def _number(value: object, *, attr: str) -> Number:
    number = None if isinstance(value, bool) else parse_number(_text(value))
    if number is None:
        raise ValidationFailed("filterGroup: the value must be a number.", attr=attr)
    return number


def _read_date(
    subject: Subject, operator: Operator, negated: bool, values: list[object], context: _Context, attr: str
) -> Filter:
    value = values[0]
    if len(values) != 1 or not isinstance(value, str):
        raise ValidationFailed("filterGroup: this operator takes one date.", attr=attr)
    try:
        instant = parse_date(value, now=context.now, zone=context.zone)
    except NotADate as error:
        raise ValidationFailed(f"filterGroup: the value {error}", attr=attr) from error
    return Filter(subject, operator, negated, date=DateValue(instant, value if is_relative(value) else None))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) and len(value) <= 100 else "of this kind"


_Reader: TypeAlias = Callable[[Subject, Operator, bool, list[object], _Context, str], Filter]
_READERS: Final[Mapping[Operator, _Reader]] = {
    "exact": _read_texts,
    "contains": _read_texts,
    "starts_with": _read_texts,
    "ends_with": _read_texts,
    "regex": _read_patterns,
    "gt": _read_number,
    "gte": _read_number,
    "lt": _read_number,
    "lte": _read_number,
    "between": _read_bounds,
    "date_exact": _read_date,
    "date_before": _read_date,
    "date_after": _read_date,
}
_ATTRIBUTE_ONLY: Final = frozenset(
    {"gt", "gte", "lt", "lte", "between", "date_exact", "date_before", "date_after"}
)
