"""From a question to a checked query: by a language model, or by the keyword parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Literal

from jobs.errors import Unavailable, ValidationFailed
from jobs.insight import InsightQuery, InsightRequest, unanswerable
from jobs.insight_check import InvalidInsightQuery, check_query
from jobs.insight_dates import BadDate, resolve_range
from jobs.json_text import JsonSyntaxError, load_json
from workers.insight.grammar import NotUnderstood, parse_question
from workers.insight.prompts import UNANSWERABLE, KnownNames, prompt_for, repair_message
from workers.llm.errors import LLMError
from workers.llm.model import CallScope, ChatModel

Engine = Literal["llm", "keyword"]

TURNS: Final = 3  # the first answer, and two repairs
MAX_REASON: Final = 200
MODEL_AWAY: Final = "The language model is not available; the question was read by its keywords."

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


class _Unanswerable(Exception):
    """The model says that the data cannot answer the question; the message is its reason."""


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


async def plan_by_model(
    request: InsightRequest,
    *,
    chat: ChatModel,
    scope: CallScope,
    known: KnownNames,
    now: datetime,
    zone: tzinfo,
) -> Plan:
    """A query of the model's; while the model is away, of the keyword parser's.

    Raises:
        ValidationFailed: `unanswerable_query`: so the model says, or none of its answers was a valid query.
        Unavailable: `llm_unavailable`: no model, and the keyword parser does not understand the question.
    """
    try:
        return await _asked(request, chat=chat, scope=scope, known=known, now=now, zone=zone)
    except LLMError as error:
        return plan_without_model(request, now=now, zone=zone, retry_after_s=error.retry_after_s)


async def _asked(
    request: InsightRequest,
    *,
    chat: ChatModel,
    scope: CallScope,
    known: KnownNames,
    now: datetime,
    zone: tzinfo,
) -> Plan:
    repairs: list[str] = []
    for attempt in range(1, TURNS + 1):
        prompt = prompt_for(request, known=known, now=now, repairs=repairs)
        # Whatever the text is: what is wrong with it is told in the next turn, not asked for again as it was.
        answer = await chat.ask(prompt, str, scope=scope)
        try:
            return Plan(read_answer(answer.value, now=now, zone=zone), "llm")
        except _Unanswerable as error:
            raise refusal(f"The data cannot answer this: {error}", attempts=attempt) from error
        except InvalidInsightQuery as error:
            repairs.append(repair_message(answer.value, error.faults))
    raise refusal("The question could not be turned into a query.", attempts=TURNS)


def read_answer(text: str, *, now: datetime, zone: tzinfo) -> InsightQuery:
    """The query that the model wrote.

    Raises:
        InvalidInsightQuery: with all that is wrong.
    """
    try:
        answer = load_json(_object_in(text).encode("utf-8", "replace"))
    except JsonSyntaxError as error:
        raise InvalidInsightQuery(["the answer must be one JSON object and nothing else"]) from error
    if isinstance(answer, Mapping) and answer.get("kind") == UNANSWERABLE:
        reason = answer.get("reason")
        shown = " ".join(reason.split())[:MAX_REASON] if isinstance(reason, str) else ""
        raise _Unanswerable(shown or "nothing of the kind is recorded.")
    query = check_query(answer)
    try:
        resolve_range(query.date_range.date_from, query.date_range.date_to, now=now, zone=zone)
    except BadDate as error:
        raise InvalidInsightQuery([f"date_range: {error}"]) from error
    return query


def _object_in(text: str) -> str:
    """The JSON object of an answer: some models put words or a fence around it."""
    return text[text.find("{") : text.rfind("}") + 1] if "{" in text else text


def refusal(detail: str, *, attempts: int) -> ValidationFailed:
    return unanswerable(
        f"{detail} Ask about logs, jobs or summaries, for example: {SUGGESTIONS[0]}",
        attempts=attempts,
        suggestions=SUGGESTIONS,
    )


def plan_without_model(
    request: InsightRequest, *, now: datetime, zone: tzinfo, retry_after_s: int | None = None
) -> Plan:
    """The keyword parser in place of a model that is away or busy.

    Raises:
        Unavailable: `llm_unavailable`: the parser does not understand the question.
    """
    try:
        parsed = parse_question(request.query, insight_type=request.insight_type, now=now, zone=zone)
    except NotUnderstood as error:
        raise Unavailable(
            "The language model is not available, and the question cannot be read by its keywords.",
            code="llm_unavailable",
            retry_after_s=retry_after_s or 5,
        ) from error
    return Plan(parsed.query, "keyword", (MODEL_AWAY, *parsed.warnings))
