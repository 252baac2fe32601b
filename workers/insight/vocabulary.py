"""The words that the keyword parser knows."""

from __future__ import annotations

from typing import Final

from jobs.insight import Interval, Source


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


REFUSED: Final = _set("why predict forecast cause explain compare correlate funnel retention cohort should")

# In the order in which they are looked for: a question about summarization jobs is one about jobs.
SOURCE_WORDS: Final[tuple[tuple[Source, frozenset[str]], ...]] = (
    (
        "jobs",
        _set("job jobs task tasks queue"),
    ),
    (
        "summaries",
        _set("summary summaries summarized summarization summarizations"),
    ),
    (
        "logs",
        _set(
            "log logs error errors warning warnings exception exceptions message "
            "messages severity service services"
        ),
    ),
)

SEVERITY_WORDS: Final = (
    ("error", ("error", "errors", "exception", "exceptions")),
    ("warn", ("warning", "warnings", "warn")),
    ("fatal", ("fatal", "critical")),
    ("debug", ("debug",)),
    ("info", ("info",)),
)
STATE_WORDS: Final = (
    ("failed", ("failed",)),
    ("succeeded", ("succeeded",)),
    ("canceled", ("canceled", "cancelled")),
    ("expired", ("expired",)),
    ("running", ("running",)),
    ("queued", ("queued",)),
)
MODE_WORDS: Final = (("detailed", ("detailed",)), ("minimal", ("minimal",)))

BULK: Final = "summarization.bulk"
KIND_PHRASES: Final[tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]] = (
    (BULK, (("bulk",), (BULK,))),
    ("summarization", (("summarization",), ("summarizations",))),
    ("text_repr", (("text", "repr"), ("text_repr",), ("text-repr",))),
    ("logs.sparkline", (("sparkline",), ("sparklines",), ("logs.sparkline",))),
    ("insight", (("insight",), ("insights",))),
)

FIELD_PHRASES: Final[dict[Source, dict[tuple[str, ...], str]]] = {
    "logs": {
        **{
            (word, *rest): "service_name"
            for word in ("service", "services")
            for rest in ((), ("name",), ("names",))
        },
        **{
            (word, *rest): "severity_text"
            for word in ("severity", "severities")
            for rest in ((), ("level",), ("levels",))
        },
        ("level",): "severity_text",
        ("levels",): "severity_text",
        **{(word, *rest): "trace_id" for word in ("trace", "traces") for rest in ((), ("id",), ("ids",))},
        **{(word, *rest): "span_id" for word in ("span", "spans") for rest in ((), ("id",), ("ids",))},
        ("event", "name"): "event_name",
        ("event", "names"): "event_name",
        **{(name,): name for name in ("service_name", "severity_text", "trace_id", "span_id", "event_name")},
    },
    "jobs": {
        **{(word,): "kind" for word in ("kind", "kinds", "type", "types")},
        **{(word,): "state" for word in ("state", "states", "status", "statuses")},
        **{(word,): "source" for word in ("source", "sources")},
    },
    "summaries": {
        **{(word,): "model" for word in ("model", "models")},
        **{(word,): "mode" for word in ("mode", "modes")},
        **{(word,): "summarize_type" for word in ("type", "types", "summarize_type")},
        **{(word,): "engine" for word in ("engine", "engines")},
        **{(word,): "status" for word in ("status", "statuses")},
    },
}

OP_PHRASES: Final[dict[tuple[str, ...], str]] = {
    **{(word,): "avg" for word in ("average", "mean", "avg")},
    ("median",): "p50",
    **{(word,): word for word in ("p50", "p90", "p95", "p99")},
    **{(word,): "max" for word in ("max", "maximum", "longest", "slowest")},
    **{(word,): "min" for word in ("min", "minimum", "shortest", "fastest")},
    ("sum", "of"): "sum",
}
# These say by themselves what is measured.
TIME_OPS: Final[dict[Source, frozenset[str]]] = {
    "jobs": frozenset(("longest", "slowest", "shortest", "fastest")),
    "summaries": frozenset(("slowest", "fastest")),
    "logs": frozenset(),
}
TIME_FIELD: Final[dict[Source, str]] = {"jobs": "duration_ms", "summaries": "latency_ms"}

NUMBER_PHRASES: Final[dict[Source, dict[tuple[str, ...], str]]] = {
    "jobs": {
        **dict.fromkeys(
            (
                *(("duration",), ("durations",), ("latency",), ("latencies",), ("run", "time")),
                *(("run", "times"), ("runtime",), ("running", "time"), ("duration_ms",)),
            ),
            "duration_ms",
        ),
        **dict.fromkeys(
            (("queue", "time"), ("waiting", "time"), ("wait", "time"), ("queue_ms",)), "queue_ms"
        ),
    },
    "summaries": {
        **{(word,): "latency_ms" for word in ("latency", "latencies", "duration", "durations", "latency_ms")},
        ("tokens",): "total_tokens",
        ("total_tokens",): "total_tokens",
        ("length",): "text_repr_length",
        ("lengths",): "text_repr_length",
        ("cost",): "cost_usd",
        ("cost_usd",): "cost_usd",
    },
    "logs": {},
}

UNITS: Final[dict[str, Interval]] = {
    word: unit for unit in ("minute", "hour", "day", "week", "month") for word in (unit, f"{unit}s")
}
SHORT_UNITS: Final[dict[str, Interval]] = {
    **UNITS,
    **dict.fromkeys(("min", "mins"), "minute"),
    **dict.fromkeys(("hr", "hrs", "h"), "hour"),
    "d": "day",
}
UNIT_LETTERS: Final[dict[Interval, str]] = {"minute": "M", "hour": "h", "day": "d", "week": "w", "month": "m"}
EVERY: Final[dict[str, Interval]] = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
SERIES_PHRASES: Final = (
    *(("over", "time"), ("trend",), ("trends",), ("timeline",), ("time", "series"), ("timeseries",)),
)
COUNTING_STARTS: Final = (("how", "many"), ("number", "of"), ("count",), ("total",), ("what", "is"))
DISTINCT_WORDS: Final = ("different", "distinct", "unique")

NUMBER_WORDS: Final = {
    word: number
    for number, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 1
    )
}

# Where a name ends: the word after "service" is a name unless it is one of these.
STRUCTURE: Final = _set(
    "by per for from in of over last past this today yesterday since between and "
    "or with where containing contains contain mentioning mention mentions each every grouped split the "
    "is are was were as to on at that which what had has have log logs error "
    "errors warning warnings message messages exception exceptions name names "
    "hourly daily weekly monthly ="
)

# Words that carry no meaning of their own here; everything else that is not used is reported.
FILLERS: Final = _set(
    "a about all am an and any are as at be been by can could count chart data "
    "did display do does each every find for from get give got graph group "
    "grouped happened has have having hello hi how i in is it its had let list "
    "logged made many me most much my number occurred of on or our over per "
    "please plot run see seen show split tell than that the their them there "
    "these this time times to total us value values was we were what when where "
    "which with within would you your during then ran entries entry lines "
    "records"
)
