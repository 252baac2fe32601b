"""Tell webhooks of what no job says by its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from jobs.webhooks import SCHEDULE_PAUSED, message
from storage import webhooks
from storage.models import Schedule
from workers.metrics import SCHEDULES_PAUSED

log = structlog.get_logger()


def announce_paused(session: Session, paused: Sequence[Schedule], *, base_url: str, now: datetime) -> int:
    """Schedules that were paused because their runs failed again and again; the number of messages.

    Call it in the transaction that pauses them: what is told and what is stored agree.
    """
    messages = 0
    for schedule in paused:
        SCHEDULES_PAUSED.inc()
        log.warning("schedule_paused", schedule_id=schedule.id, last_job_id=schedule.last_job_id)
        home = f"{base_url}/api/environments/{schedule.project_id}/schedules/{schedule.id}/"
        data = {
            "id": schedule.id,
            "kind": schedule.kind,
            "last_job_id": schedule.last_job_id,
            "consecutive_failures": schedule.consecutive_failures,
            "links": {"self": home},
        }
        messages += webhooks.tell(
            session,
            schedule.project_id,
            event=SCHEDULE_PAUSED,
            subject=f"{SCHEDULE_PAUSED}:{schedule.id}:{schedule.last_job_id}",
            body=message(SCHEDULE_PAUSED, at=now.timestamp(), data=data),
            now=now,
        )
    return messages
