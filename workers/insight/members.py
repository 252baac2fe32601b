"""The three members of an answer: the plan, the result, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from jobs.insight import InsightRequest
from jobs.records import format_time
from workers.insight.answer import Findings
from workers.insight.planner import Plan
from workers.insight.wording import content_of, plan_of

Member = dict[str, object]


def members_of(request: InsightRequest, plan: Plan, findings: Findings, *, took_ms: float) -> list[Member]:
    """The 200 body. `sql` questions are shown the statement that made the rows."""
    query = findings.query.public()
    statement: Mapping[str, object] = (
        {"sql": findings.sql, "parameters": findings.parameters} if request.insight_type == "sql" else {}
    )
    visual: Member = {
        "type": "ai/viz",
        "id": str(uuid4()),
        "query": request.query,
        "plan": plan_of(findings.query),
        "answer": query,
    }
    result: Member = {
        "query": query,
        "columns": findings.columns,
        "rows": findings.rows,
        "row_count": len(findings.rows),
        "truncated": findings.truncated,
        "date_from": format_time(findings.start.timestamp()),
        "date_to": format_time(findings.end.timestamp()),
        "engine": plan.engine,
        "warnings": [*plan.warnings, *findings.warnings],
        "took_ms": round(took_ms),
        **statement,
    }
    sentence: Member = {"type": "ai", "id": str(uuid4()), "content": content_of(findings)}
    return [
        {"type": "message", "data": visual},
        {"type": "result", "data": result},
        {"type": "message", "data": sentence},
    ]
