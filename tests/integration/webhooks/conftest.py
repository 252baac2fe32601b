"""A receiver of webhooks on the loopback interface, and a database with one project."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy.orm import Session, sessionmaker

from jobs.webhooks import new_secret, new_webhook_id
from storage.migrations import upgrade
from storage.models import Webhook
from storage.projects import create_project
from storage.secrets import Vault
from storage.session import make_engine, make_sessions


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers what it is told to, and remembers what came."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=threading.Event)
    received: list[Received] = field(default_factory=list)

    def wait_for(self, count: int) -> list[Received]:
        until(lambda: len(self.received) >= count)
        return self.received


def until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()
    told.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.received.append(
                Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            told.hold.wait(30)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}/hook?x=1"
    yield told
    told.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[sessionmaker[Session]]:
    url = f"sqlite:///{tmp_path / 'hooks.db'}"
    upgrade(url)
    engine = make_engine(url)
    made = make_sessions(engine)
    with made.begin() as session:
        create_project(session, "main")
    yield made
    engine.dispose()


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@dataclass
class MakeHook:
    sessions: sessionmaker[Session]
    vault: Vault

    def __call__(self, url: str, *, events: list[str] | None = None, **values: object) -> tuple[Webhook, str]:
        """A webhook of project 1, and its secret."""
        hook_id, secret, now = new_webhook_id(), new_secret(), datetime.now(UTC)
        hook = Webhook(
            id=hook_id,
            project_id=1,
            url=url,
            events=events or ["job.succeeded"],
            sealed=self.vault.seal({"secret": secret}, project_id=1, external_id=hook_id),
            created_at=now,
            updated_at=now,
            **{"description": "", "enabled": True, "disabled_reason": "", "kinds": ["text_repr"], **values},
        )
        with self.sessions.begin() as session:
            session.add(hook)
        return hook, secret


@pytest.fixture
def make_hook(sessions: sessionmaker[Session], vault: Vault) -> MakeHook:
    return MakeHook(sessions, vault)
