"""The log filters once more, in plain Python over dictionaries, written from the specification and slow.

Shares no code with the product: it is what the product's SQL is compared with.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import re2

EXACT = Context(prec=5000, Emax=999_999_999, Emin=-999_999_999)
NEGATIONS = {
    "is_not": "exact",
    "not_in": "exact",
    "not_icontains": "icontains",
    "not_icontains_multi": "icontains",
    "not_starts_with": "starts_with",
    "not_ends_with": "ends_with",
    "not_regex": "regex",
    "not_between": "between",
    "is_not_set": "is_set",
}
FIELD_NAMES = {
    "message": "body",
    "severity_level": "severity_text",
    "level": "severity_text",
}
CASELESS = {"severity_text", "trace_id", "span_id"}


def matches(record: Mapping[str, Any], group: Any, zone: tzinfo = UTC) -> bool:
    """`group` is a `filterGroup` of a request, any of its forms."""
    if not group:
        return True
    if isinstance(group, list):
        group = {"type": "AND", "values": group}
    results = []
    for member in group["values"]:
        if "values" in member:
            results.append(matches(record, member, zone) if member["values"] else True)
        elif member.get("value") != [] or "set" in member["operator"]:
            results.append(passes(record, member, zone))
    if not results:
        return True
    return any(results) if group.get("type") == "OR" else all(results)


def passes(record: Mapping[str, Any], part: Mapping[str, Any], zone: tzinfo) -> bool:
    operator = part.get("operator", "exact")
    if operator in NEGATIONS:
        return not passes(record, {**part, "operator": NEGATIONS[operator]}, zone)
    name = part["key"]
    if part["type"] in ("log", "log_entry"):
        name = FIELD_NAMES.get(name, name)
        text = record[name]
        if operator == "is_set":
            return bool(text.strip("0")) if name in ("trace_id", "span_id") else text != ""
    else:
        found = record["attributes" if part["type"] == "log_attribute" else "resource_attributes"]
        if name not in found:
            return False
        if operator == "is_set":
            return True
        text, name = found[name], ""
    value = part["value"]
    values = value if isinstance(value, list) else [value]
    if operator in ("exact", "in", "icontains", "icontains_multi", "starts_with", "ends_with", "regex"):
        return any(tested(text, operator, item, caseless=name in CASELESS) for item in values)
    if operator.startswith("is_date"):
        return dated(text, operator, values[0], zone)
    return measured(text, operator, values)


def tested(text: str, operator: str, value: Any, *, caseless: bool) -> bool:
    wanted = str(value).lower() if isinstance(value, bool) else str(value)
    if operator == "regex":
        options = re2.Options()
        options.dot_nl = True
        options.case_sensitive = not caseless
        return re2.compile(wanted, options).search(text) is not None
    if caseless:
        text, wanted = text.lower(), wanted.lower()
    if operator in ("exact", "in"):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return number(text) is not None and number(text) == number(wanted)
        return text == wanted
    if operator == "starts_with":
        return text[: len(wanted)] == wanted
    if operator == "ends_with":
        return wanted == "" or text[-len(wanted) :] == wanted
    return found_ignoring_case(text, wanted)


def found_ignoring_case(text: str, wanted: str) -> bool:
    return "".join(map(simple, wanted)) in "".join(map(simple, text))


def simple(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def number(text: str) -> Decimal | None:
    found = re.fullmatch(r"([+-]?[0-9]+(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]+))?", text)
    if found is None:
        return None
    # Decimal's own limit; no number here has so many digits that this matters.
    exponent = max(-100_000_000, min(100_000_000, int(found[2] or 0)))
    return EXACT.create_decimal(f"{found[1]}e{exponent}")


def measured(text: str, operator: str, values: list[Any]) -> bool:
    found = number(text)
    if found is None:
        return False
    bounds = [number(str(value)) for value in values]
    low, high = bounds[0], bounds[-1]
    assert low is not None
    assert high is not None
    return {
        "gt": found > low,
        "gte": found >= low,
        "min": found >= low,
        "lt": found < low,
        "lte": found <= low,
        "max": found <= low,
        "between": low <= found <= high,
    }[operator]


def dated(text: str, operator: str, value: str, zone: tzinfo) -> bool:
    found, wanted = date(text, zone), date(value, zone)
    if found is None:
        return False
    assert wanted is not None
    return {
        "is_date_exact": found == wanted,
        "is_date_before": found < wanted,
        "is_date_after": found > wanted,
    }[operator]


def date(text: str, zone: tzinfo) -> datetime | None:
    found = re.fullmatch(
        r"(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?",
        text,
        re.ASCII,
    )
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[index] or 0) for index in range(1, 7))
    micro = int(((found[7] or "") + "000000")[:6])
    named = found[8]
    try:
        if named and named != "Z":
            digits = named[1:].replace(":", "")
            if int(digits[:2]) > 23 or int(digits[2:]) > 59:
                return None
            ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            used: tzinfo = timezone(ahead if named[0] == "+" else -ahead)
        else:
            used = UTC if named else zone
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=used).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def bar_width(span_us: int) -> int:
    widths = [1, 5, 10, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800, 2592000]
    step = Fraction(span_us, 50_000_000)
    best = widths[0]
    for width in widths:
        if abs(width - step) < abs(best - step):
            best = width
    return best


def bars(
    records: list[Mapping[str, Any]], low: int, high: int, *, key: str, rank: str
) -> list[tuple[int, str, int, int]]:
    """(start in seconds, value, count, bytes) for records that match, `low` to `high` in microseconds."""
    width = bar_width(high - low)
    seen: dict[tuple[int, str], list[int]] = {}
    totals: dict[str, int] = {}
    column = {"severity": "severity_text", "service": "service_name"}[key]
    for record in records:
        value = record[column] or "(no value)"
        bar = seen.setdefault((record["timestamp"] // 1_000_000 // width * width, value), [0, 0])
        bar[0] += 1
        bar[1] += record["bytes"]
        totals[value] = totals.get(value, 0) + (1 if rank == "count" else record["bytes"])
    named = sorted(totals, key=lambda value: (-totals[value], value))[:10]
    shown: dict[tuple[int, str], list[int]] = {}
    for (start, value), (count, size) in seen.items():
        label = value if value in named else "$$_posthog_breakdown_other_$$"
        bar = shown.setdefault((start, label), [0, 0])
        bar[0] += count
        bar[1] += size
    start = low // 1_000_000 // width * width
    last = max(start, (high - 1_000_000) // 1_000_000 // width * width)
    while start <= last:
        if not any(at == start for at, _ in shown):
            shown[start, "(no value)"] = [0, 0]
        start += width
    return sorted((at, value, count, size) for (at, value), (count, size) in shown.items())


def keys(
    records: list[Mapping[str, Any]], column: str, search: str, *, in_values: bool
) -> list[tuple[str, str | None]]:
    """(name, most frequent matching value or None) in the order of the answer."""
    counts: dict[str, int] = {}
    by_value: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in record[column].items():
            if found_ignoring_case(name, search):
                counts[name] = counts.get(name, 0) + 1
            elif in_values and len(search) >= 4 and found_ignoring_case(value, search):
                seen = by_value.setdefault(name, {})
                seen[value] = seen.get(value, 0) + 1

    def folded(text: str) -> str:
        return "".join(map(simple, text))

    def rank(name: str, count: int) -> tuple[int, int, str]:
        tokens = re.split(r"[\s" + re.escape(string.punctuation) + "]+", folded(name))
        if folded(name) == folded(search):
            return (0, -count, name)
        return (1 if search and folded(search) in tokens else 2, -count, name)

    first = sorted(counts, key=lambda name: rank(name, counts[name]))
    second = sorted(by_value, key=lambda name: rank(name, sum(by_value[name].values())))
    return [(name, None) for name in first] + [
        (name, min(by_value[name], key=lambda value: (-by_value[name][value], value))) for name in second
    ]


def values(records: list[Mapping[str, Any]], column: str, key: str, search: str) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for record in records:
        value = record[column].get(key)
        if value is not None and len(value.encode()) <= 256 and found_ignoring_case(value, search):
            counts[value] = counts.get(value, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
