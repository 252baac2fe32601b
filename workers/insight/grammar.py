"""The parser for common counting questions: no language model, and the same answer every time.

The rules run in a fixed order and take the words they understand; what is left is reported, so that the
answer says what it ignored instead of pretending.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from jobs.insight import Breakdown, DateRange, Filter, InsightQuery, Interval, Source
from jobs.insight_check import MAX_FILTERS
from jobs.insight_dates import resolve_range
from workers.insight import filter_words, group_words, metric_words, range_words
from workers.insight.vocabulary import COUNTING_STARTS, FILLERS, REFUSED, SERIES_PHRASES, SOURCE_WORDS
from workers.insight.words import Reading, words_of

# The length of a range, in seconds, up to which a step is used.
STEPS: tuple[tuple[float, Interval], ...] = ((3600, "minute"), (48 * 3600, "hour"), (60 * 86400, "day"))


class NotUnderstood(ValueError):
    """The message says why, in words for the caller."""


@dataclass(frozen=True, slots=True)
class Parsed:
    query: InsightQuery
    warnings: tuple[str, ...] = ()


def parse_question(question: str, *, insight_type: str, now: datetime, zone: tzinfo) -> Parsed:
    """The query that a question asks for.

    Raises:
        NotUnderstood: it asks for reasons or forecasts, or names nothing that is kept here.
    """
    reading = Reading(words_of(question))
    starts = [phrase for phrase in COUNTING_STARTS if reading.says(0, phrase)]
    if refused := next((word.text for word in reading.words if word.key in REFUSED), None):
        raise NotUnderstood(f'This counts and measures; it cannot answer "{refused.lower()}".')
    source, values = _source(reading)
    warnings: list[str] = []
    metric = metric_words.metric_of(reading, source)
    date_range = range_words.range_of(reading, now=now, zone=zone)
    interval, breakdowns = group_words.groups_of(reading, source, warnings)
    series = any(True for _ in _taken(reading, SERIES_PHRASES))
    filters = (*values, *filter_words.filters_of(reading, source))
    bare = insight_type == "trends" and metric.op == "count" and not starts and not breakdowns
    if interval is None and (series or bare):
        interval = _step_of(date_range, now=now, zone=zone)
    query = InsightQuery(
        source=source,
        metric=metric,
        filters=_sorted(filters),
        breakdowns=breakdowns,
        interval=interval,
        date_range=date_range,
        chart=_chart(reading, interval, breakdowns),
    )
    return Parsed(query, (*warnings, *_ignored(reading, source)))


def _source(reading: Reading) -> tuple[Source, tuple[Filter, ...]]:
    """What the question is about, and the filters whose values are names: those are no source words."""
    named = Reading(reading.words)
    filters = filter_words.named_values(named)
    said = {named.key(place) for place in range(len(named))}
    if any(item.field == "service_name" for item in filters):
        said.add("service")  # taken with the name, and a word about logs all the same
    source = next((name for name, words in SOURCE_WORDS if words & said), None)
    if source is None:
        raise NotUnderstood("The question names neither logs, nor jobs, nor summaries.")
    if source != "logs":
        return source, ()
    for place in named.taken():
        reading.take(place)
    return source, filters


def _taken(reading: Reading, phrases: tuple[tuple[str, ...], ...]) -> list[int]:
    found = list(reading.find(*phrases))
    for place, length in found:
        reading.take(place, length)
    return [place for place, _ in found]


def _step_of(date_range: DateRange, *, now: datetime, zone: tzinfo) -> Interval:
    start, end = resolve_range(date_range.date_from, date_range.date_to, now=now, zone=zone)
    seconds = (end - start).total_seconds()
    return next((step for longest, step in STEPS if seconds <= longest), "week")


def _chart(reading: Reading, interval: Interval | None, breakdowns: tuple[Breakdown, ...]) -> str:
    for chart in ("table", "pie"):
        if reading.take_all((chart,)):
            return chart
    if interval is not None:
        return "line"
    return "bar" if breakdowns else "number"


def _sorted(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """In the order of the rules, whatever the order in the question: equal questions, equal queries."""
    order = ("severity_text", "service_name", "body", "attributes", "resource_attributes", "trace_id")

    def rank(item: Filter) -> int:
        name = item.field.partition(".")[0]
        return order.index(name) if name in order else len(order)

    return tuple(sorted(filters, key=rank))[:MAX_FILTERS]


def _ignored(reading: Reading, source: Source) -> tuple[str, ...]:
    known = {word for name, words in SOURCE_WORDS if name == source for word in words} | FILLERS
    reading.take_all(known)
    left = reading.left()
    if not left:
        return ()
    shown = ", ".join(f'"{text[:80]}"' for text in left[:30])
    return (f"These words were not used: {shown}.",)
