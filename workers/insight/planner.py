"""From a question to a checked query: by a language model, or by the keyword parser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Literal

from jobs.errors import ValidationFailed
from jobs.insight import InsightQuery, InsightRequest, unanswerable
from workers.insight.grammar import NotUnderstood, parse_question

Engine = Literal["llm", "keyword"]

# Questions that work here whatever the data; a test asks them all.
SUGGESTIONS: Final = (
    "How many errors per hour by service in the last 24 hours?",
    "Average duration of jobs by kind in the last 7 days",
    "How many summaries per day by model in the last 7 days?",
)


@dataclass(frozen=True, slots=True)
class Plan:
    query: InsightQuery
    engine: Engine
    warnings: tuple[str, ...] = ()


def plan_by_keywords(request: InsightRequest, *, now: datetime, zone: tzinfo) -> Plan:
    """
    Raises:
        ValidationFailed: `unanswerable_query`, with questions that work.
    """
    try:
        parsed = parse_question(request.query, insight_type=request.insight_type, now=now, zone=zone)
    except NotUnderstood as error:
        raise refusal(str(error), attempts=1) from error
    return Plan(parsed.query, "keyword", parsed.warnings)


def refusal(detail: str, *, attempts: int) -> ValidationFailed:
    return unanswerable(
        f"{detail} Ask about logs, jobs or summaries, for example: {SUGGESTIONS[0]}",
        attempts=attempts,
        suggestions=SUGGESTIONS,
    )
