from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from jobs.records import JobRecord, new_job_id
from jobs.states import JobState
from jobs.webhooks import new_webhook_id
from storage import jobs as job_rows
from storage import webhooks
from storage.models import Project, Webhook, WebhookDelivery

Sessions = sessionmaker[Session]

NOW = datetime(2025, 11, 3, 9, 30, tzinfo=UTC)
LEASE = timedelta(seconds=60)


@pytest.fixture
def hook(sessions: Sessions, project: Project) -> Webhook:
    return _hook(sessions, project)


def _hook(sessions: Sessions, project: Project, **values: object) -> Webhook:
    defaults = {"events": ["job.succeeded"], "enabled": True, "kinds": None}
    made = Webhook(
        id=new_webhook_id(),
        project_id=project.id,
        url="https://hooks.example.com/",
        description="",
        disabled_reason="",
        sealed="sealed",
        created_at=NOW,
        updated_at=NOW,
        **{**defaults, **values},
    )
    with sessions.begin() as session:
        session.add(made)
    return made


def _job(project: Project, **values: object) -> JobRecord:
    defaults: dict[str, object] = {
        "id": new_job_id(),
        "project_id": project.id,
        "user_id": 1,
        "kind": "text_repr",
        "queue": "render",
        "created_at": NOW.timestamp(),
        "state": JobState.SUCCEEDED,
        "asynchronous": True,
    }
    return JobRecord(**{**defaults, **values})  # type: ignore[arg-type]


def _tell(sessions: Sessions, *jobs: JobRecord) -> int:
    with sessions.begin() as session:
        return webhooks.tell_of_jobs(session, jobs, base_url="", now=NOW)


def _count(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(WebhookDelivery)) or 0


def _take(
    sessions: Sessions, *, at: datetime = NOW, busy: dict[str, int] | None = None
) -> list[webhooks.Due]:
    with sessions.begin() as session:
        return webhooks.take_due(session, now=at, lease=LEASE, busy=busy or {}, each=4)


def test_end_of_a_job_is_told_once(sessions: Sessions, project: Project, hook: Webhook) -> None:
    job = _job(project)

    _tell(sessions, job)
    _tell(sessions, job, job)

    assert _count(sessions) == 1


@pytest.mark.parametrize(
    "values",
    [{"state": JobState.RUNNING}, {"state": JobState.FAILED}, {"asynchronous": False}, {"project_id": 999}],
)
def test_what_nobody_asked_for_is_not_told(
    sessions: Sessions, project: Project, hook: Webhook, values: dict[str, object]
) -> None:
    _tell(sessions, _job(project, **values))

    assert _count(sessions) == 0


def test_disabled_webhook_hears_nothing(sessions: Sessions, project: Project) -> None:
    _hook(sessions, project, enabled=False)

    assert _tell(sessions, _job(project)) == 0


def test_other_events_go_to_those_who_listen(sessions: Sessions, project: Project, hook: Webhook) -> None:
    _hook(sessions, project, events=["schedule.paused"])
    with sessions.begin() as session:
        told = [
            webhooks.tell(
                session, project.id, event="schedule.paused", subject="sch_1:1", body=b"{}", now=NOW
            )
            for _ in range(2)
        ]

    assert told == [1, 1]
    assert _count(sessions) == 1


def test_delivery_is_taken_by_one_and_due_again_after_its_lease(
    sessions: Sessions, project: Project, hook: Webhook
) -> None:
    _tell(sessions, _job(project))

    taken = [len(_take(sessions)), len(_take(sessions)), len(_take(sessions, at=NOW + LEASE))]

    assert taken == [1, 0, 1]


def test_webhook_gets_no_more_than_its_share(sessions: Sessions, project: Project, hook: Webhook) -> None:
    other = _hook(sessions, project)
    _tell(sessions, *(_job(project) for _ in range(6)))

    taken = _take(sessions, busy={hook.id: 3})

    assert sorted(due.webhook.id for due in taken) == sorted([hook.id] + [other.id] * 4)


def test_attempts_are_noted(sessions: Sessions, project: Project, hook: Webhook) -> None:
    _tell(sessions, _job(project))
    due = _take(sessions)[0]
    later = NOW + timedelta(seconds=5)
    with sessions.begin() as session:
        failed = webhooks.Attempted(ok=False, at=NOW, response_code=500, error="refused", again_at=later)
        webhooks.note(session, due, failed)
    with sessions() as session:
        row = webhooks.deliveries(session, hook.id, limit=10, offset=0)[1][0]
        failing = session.get_one(Webhook, hook.id).failing_since

    assert (row.status, row.attempts, row.response_code, row.next_attempt_at) == ("pending", 1, 500, later)
    assert failing == NOW


def test_removed_webhook_takes_its_deliveries_along(
    sessions: Sessions, project: Project, hook: Webhook
) -> None:
    _tell(sessions, _job(project))
    due = _take(sessions)[0]
    with sessions.begin() as session:
        foreign = webhooks.remove(session, project.id + 1, hook.id)
        removed = webhooks.remove(session, project.id, hook.id)
    with sessions.begin() as session:
        webhooks.note(session, due, webhooks.Attempted(ok=True, at=NOW, response_code=200))

    assert (foreign, removed, _count(sessions)) == (False, True, 0)


def test_old_deliveries_are_removed(sessions: Sessions, project: Project, hook: Webhook) -> None:
    _tell(sessions, _job(project))
    with sessions.begin() as session:
        early = webhooks.remove_deliveries_older_than(session, NOW)
        late = webhooks.remove_deliveries_older_than(session, NOW + timedelta(seconds=1))

    assert (early, late) == (0, 1)


def test_row_of_a_job_knows_that_its_caller_did_not_wait(sessions: Sessions, project: Project) -> None:
    job = _job(project, state=JobState.QUEUED, promised=True)
    with sessions.begin() as session:
        job_rows.insert_promised(session, [job_rows.PromisedJob(job, b"x")])
    with sessions() as session:
        promised = job_rows.load_promised(session, job.id)

    assert promised is not None
    assert promised.record.asynchronous
