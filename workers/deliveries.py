"""Send webhook messages that are due, off everybody's path: a thread with an event loop of its own.

The table of deliveries is the queue (`storage/webhooks.py`). Several processes may send; one takes each.
A call goes to an address that was checked after the name was looked up, and to no other.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs.addresses import BadAddress, Target, allowed, target_of
from jobs.webhooks import ATTEMPT_S, SECRET_OVERLAP_S, retry_delay_s, signature
from storage import webhooks as rows
from storage.models import Webhook
from storage.secrets import Unreadable, Vault
from storage.webhooks import Attempted, Due
from workers.metrics import WEBHOOK_DELIVERIES

log = structlog.get_logger()

IDLE_S: Final = 0.5
AFTER_FAULT_S: Final = 2.0
EACH: Final = 4  # messages to one webhook at once
LEASE: Final = timedelta(seconds=60)  # longer than an attempt; then a delivery of a dead process is due again
ADDRESSES_TRIED: Final = 3

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receiver answered, or why there was no answer."""

    status: int | None = None
    error: str | None = None
    retry_after: str = ""


class WebhookSender:
    """A thread of the maintenance worker. `wake` it when there is something new."""

    def __init__(
        self, sessions: sessionmaker[Session], vault: Vault, *, allow_private: bool, concurrency: int
    ) -> None:
        self._sessions = sessions
        self._vault = vault
        self._allow_private = allow_private
        self._concurrency = concurrency
        self._busy: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="webhook-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is under way gets a moment; what does not end is due again later."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout=5)

    def wake(self) -> None:
        if self._loop is not None and self._woken is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    def _run(self) -> None:
        asyncio.run(self._send_for_ever())

    async def _send_for_ever(self) -> None:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        async with new_client() as client:
            while not self._stopping.is_set():
                self._woken.clear()
                try:
                    pause_s = 0.0 if await self._send_due(client) else IDLE_S
                except SQLAlchemyError as error:
                    log.warning("webhooks_not_read", error=type(error).__name__)
                    pause_s = AFTER_FAULT_S
                await _woken_within(self._woken, pause_s)
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=3)

    async def _send_due(self, client: httpx2.AsyncClient) -> int:
        """Begin to send what is due now, as far as there is room; how many."""
        room = self._concurrency - len(self._under_way)
        if room <= 0:
            return 0
        found = await asyncio.to_thread(self._take, dict(self._busy), room)
        for due in found:
            self._busy[due.webhook.id] += 1
            task = asyncio.create_task(self._deliver(client, due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return len(found)

    def _take(self, busy: dict[str, int], room: int) -> list[Due]:
        with self._sessions.begin() as session:
            return rows.take_due(
                session, now=datetime.now(UTC), lease=LEASE, busy=busy, each=EACH, limit=max(1, room // EACH)
            )

    async def _deliver(self, client: httpx2.AsyncClient, due: Due) -> None:
        try:
            answered = await self._attempt(client, due)
            attempted = judge(answered, attempts=due.delivery.attempts + 1, at=datetime.now(UTC))
            await asyncio.to_thread(self._note, due, attempted)
            WEBHOOK_DELIVERIES.labels("ok" if attempted.ok else answered.error or "refused").inc()
        except SQLAlchemyError as error:
            log.warning("webhook_attempt_not_noted", delivery=due.delivery.id, error=type(error).__name__)
        except Exception:
            log.exception("webhook_attempt_crashed", delivery=due.delivery.id)
        finally:
            self._busy[due.webhook.id] -= 1
            if not self._busy[due.webhook.id]:
                del self._busy[due.webhook.id]
            self.wake()

    async def _attempt(self, client: httpx2.AsyncClient, due: Due) -> Answered:
        now = datetime.now(UTC)
        try:
            secrets = secrets_of(self._vault, due.webhook, now=now)
        except Unreadable:
            return Answered(error="secret_unreadable")
        delivery = due.delivery
        timestamp = int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Tracegist-Webhooks",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(
                secrets, message_id=delivery.id, timestamp=timestamp, body=delivery.body
            ),
        }
        return await post(client, due.webhook.url, delivery.body, headers, allow_private=self._allow_private)

    def _note(self, due: Due, attempted: Attempted) -> None:
        with self._sessions.begin() as session:
            rows.note(session, due, attempted)


def new_client() -> httpx2.AsyncClient:
    """No redirects, no proxies of the environment, no cookies of others: each call has its own connection."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=ATTEMPT_S, limits=limits)


def secrets_of(vault: Vault, hook: Webhook, *, now: datetime) -> list[str]:
    """The secrets that sign now: the current one, and for a day the one before.

    Raises:
        Unreadable: no key opens them.
    """
    opened = vault.open(hook.sealed, project_id=hook.project_id, external_id=hook.id)
    secrets = [str(opened["secret"])]
    overlap = timedelta(seconds=SECRET_OVERLAP_S)
    if opened.get("previous") and hook.rotated_at is not None and now < hook.rotated_at + overlap:
        secrets.append(str(opened["previous"]))
    return secrets


def judge(answered: Answered, *, attempts: int, at: datetime) -> Attempted:
    """What an answer means: done, again later, or never again."""
    status = answered.status
    if status is not None and 200 <= status < 300:
        return Attempted(ok=True, at=at, response_code=status)
    if status == 410:
        return Attempted(ok=False, at=at, response_code=status, error="gone", gone=True)
    asked_s = retry_after_s(answered.retry_after, now=at) if status in (429, 503) else None
    delay_s = retry_delay_s(attempts, jitter=random.random(), asked_s=asked_s)  # noqa: S311 - no secret
    again_at = None if delay_s is None else at + timedelta(seconds=delay_s)
    error = answered.error or ("redirect" if status and 300 <= status < 400 else "refused")
    return Attempted(ok=False, at=at, response_code=status, error=error, again_at=again_at)


def retry_after_s(text: str, *, now: datetime) -> float | None:
    """The seconds that a `Retry-After` header asks for, in either of its forms."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (moment.astimezone(UTC) - now).total_seconds() if moment.tzinfo else None


async def look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def post(
    client: httpx2.AsyncClient,
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    allow_private: bool,
    resolve: Resolve = look_up,
) -> Answered:
    """One attempt. The name is looked up once; the connection goes to an address that passed the check."""
    try:
        async with asyncio.timeout(ATTEMPT_S):
            target = target_of(url, allow_private=allow_private)
            addresses = allowed(await resolve(target.host, target.port), allow_private=allow_private)
            if not addresses:
                return Answered(error="address_not_allowed")
            return await _post_to_any(client, url, target, addresses[:ADDRESSES_TRIED], body, headers)
    except BadAddress:
        return Answered(error="address_not_allowed")
    except (TimeoutError, httpx2.TimeoutException):
        return Answered(error="timeout")
    except socket.gaierror:
        return Answered(error="name_not_found")
    except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError, ValueError):
        return Answered(error="no_connection")


async def _post_to_any(
    client: httpx2.AsyncClient,
    url: str,
    target: Target,
    addresses: list[str],
    body: bytes,
    headers: dict[str, str],
) -> Answered:
    original = httpx2.URL(url)
    for place, address in enumerate(addresses):
        request = client.build_request(
            "POST",
            original.copy_with(host=address),
            content=body,
            # The name goes where it belongs, to the certificate check and the Host header; not to a resolver.
            headers={**headers, "Host": original.netloc.decode()},
            extensions={"sni_hostname": target.host},
        )
        try:
            response = await client.send(request, stream=True)
        except httpx2.ConnectError:
            if place + 1 == len(addresses):
                raise
            continue
        await response.aclose()  # the body is nobody's business, and may be endless
        return Answered(response.status_code, retry_after=response.headers.get("retry-after", ""))
    return Answered(error="no_connection")


async def _woken_within(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
