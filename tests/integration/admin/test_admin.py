import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from storage import projects
from storage.keys import well_formed
from storage.session import make_engine, make_sessions
from tracegist.cli.admin import app

SERVER = os.environ.get("TEST_DATABASE_URL") or "postgresql://root@127.0.0.1:5432/postgres"
DECLARED: dict[str, Any] = {
    "projects": [{"name": "main"}, {"name": "other"}],
    "users": [{"email": "ada@example.com", "projects": ["main", "other"]}],
    "keys": [
        {"name": "valid", "user": "ada@example.com", "scopes": ["*"]},
        {"name": "pinned", "user": "ada@example.com", "scopes": ["logs:read"], "projects": ["other"]},
    ],
}


class Admin:
    """Runs `tracegist admin` in a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "declaration.json"

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None) -> str:
        """What was printed, or complained about when `code` is not 0."""
        result = CliRunner().invoke(app, [*arguments, "--data-dir", str(self.folder)], input=stdin)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.stderr if code else result.stdout

    def declare(self, content: object) -> str:
        self.file.write_text(json.dumps(content))
        return str(self.file)

    def session(self) -> Session:
        return make_sessions(make_engine(f"sqlite:///{self.folder / 'tracegist.db'}"))()


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    for name in ("DATABASE_URL", "DATABASE_URL_FILE", "TRACEGIST_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Admin(tmp_path)


@pytest.fixture
def find(admin: Admin) -> Iterator[Callable[[str], projects.KeyRow | None]]:
    session = admin.session()
    with session:
        yield lambda secret: projects.find_key(session, secret)
    engine = session.get_bind().engine
    engine.dispose()


def _server_answers() -> bool:
    try:
        psycopg.connect(SERVER, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_apply_prints_projects_and_the_secrets_of_new_keys(
    admin: Admin, find: Callable[[str], projects.KeyRow | None]
) -> None:
    printed = json.loads(admin.run("apply", admin.declare(DECLARED), "--json"))

    assert printed["projects"] == {"main": 1, "other": 2}
    assert set(printed["keys"]) == {"valid", "pinned"}
    assert all(well_formed(secret) for secret in printed["keys"].values())
    pinned = find(printed["keys"]["pinned"])
    assert pinned is not None
    assert pinned.projects == {2}


def test_apply_again_prints_no_secret(admin: Admin) -> None:
    admin.run("apply", admin.declare(DECLARED))

    printed = admin.run("apply", admin.declare(DECLARED), "--json")

    assert json.loads(printed) == {"projects": {"main": 1, "other": 2}, "keys": {}}


def test_apply_reads_standard_input(admin: Admin) -> None:
    assert "project 1: main" in admin.run("apply", "-", stdin=json.dumps(DECLARED))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "JSON parse error"),
        ("[]", "A declaration is an object"),
        ('{"keyz": []}', "keyz: there is no such member."),
        ('{"projects": [{"name": "a", "id": 7}]}', "projects[0].id: there is no such member."),
        ('{"projects": [{"name": "a"}], "users": [{"email": "a@x", "projects": ["b"]}]}', "project b"),
    ],
)
def test_a_bad_file_ends_with_2_and_changes_nothing(admin: Admin, text: str, said: str) -> None:
    admin.file.write_text(text)

    complaint = admin.run("apply", str(admin.file), code=2)

    assert said in complaint
    assert json.loads(admin.run("project", "list", "--json")) == []


def test_a_missing_file_ends_with_2(admin: Admin) -> None:
    assert "No such file" in admin.run("apply", str(admin.folder / "nothing.json"), code=2)


def test_the_life_of_a_key(admin: Admin, find: Callable[[str], projects.KeyRow | None]) -> None:
    admin.run("project", "create", "main")
    admin.run("user", "create", "ada@example.com", "--project", "main")
    create = ("key", "create", "ci", "--user", "ada@example.com", "--scope", "logs:read")

    made = json.loads(
        admin.run(*create, "--project", "main", "--expires-at", "2090-01-01T00:00:00Z", "--json")
    )
    listed = json.loads(admin.run("key", "list", "--json"))
    rolled = json.loads(admin.run("key", "roll", "ci", "--json"))
    admin.run("key", "revoke", "ci")
    table = admin.run("key", "list")

    first, second = made["keys"]["ci"], rolled["keys"]["ci"]
    row = find(second)
    assert listed[0]["mask"] == "tgp_..." + first[-4:]
    assert listed[0]["expires_at"] == "2090-01-01T00:00:00.000000Z"
    assert first not in json.dumps(listed)
    assert find(first) is None
    assert row is not None
    assert row.revoked_at is not None
    assert "revoked" in table
    assert "tgp_..." + second[-4:] in table


def test_a_key_without_scopes_is_refused(admin: Admin) -> None:
    admin.run("user", "create", "ada@example.com")

    assert "scope" in admin.run("key", "create", "ci", "--user", "ada@example.com", code=2)


def test_deactivating_a_user_shows_in_the_list(admin: Admin) -> None:
    admin.run("apply", admin.declare(DECLARED))

    admin.run("user", "deactivate", "ada@example.com")

    assert {key["state"] for key in json.loads(admin.run("key", "list", "--json"))} == {"user not active"}


def test_a_flag_is_switched(admin: Admin) -> None:
    admin.run("apply", admin.declare(DECLARED))

    printed = admin.run("flag", "set", "main", "llm-analytics-summarization", "off")

    listed = json.loads(admin.run("project", "list", "--json"))
    assert printed == "project 1: llm-analytics-summarization is off\n"
    assert [project["feature_flags"]["llm-analytics-summarization"] for project in listed] == [False, True]


@pytest.mark.parametrize(
    "arguments",
    [
        ("flag", "set", "nowhere", "x", "on"),
        ("flag", "set", "nowhere", "x", "maybe"),
        ("key", "roll", "nothing"),
        ("key", "revoke", "nothing"),
        ("user", "deactivate", "nobody@example.com"),
        ("user", "create", "nobody"),
        ("user", "create", "a@x", "--project", "nowhere"),
        ("project", "create", " "),
    ],
)
def test_a_step_that_makes_no_sense_ends_with_2(admin: Admin, arguments: tuple[str, ...]) -> None:
    assert admin.run(*arguments, code=2)


def test_it_works_beside_a_process_that_has_the_database_open(admin: Admin) -> None:
    admin.run("project", "create", "main")
    other = sqlite3.connect(admin.folder / "tracegist.db")
    other.execute("BEGIN")
    before = other.execute("SELECT count(*) FROM projects").fetchone()

    admin.run("project", "create", "second")

    assert before == other.execute("SELECT count(*) FROM projects").fetchone() == (1,)
    other.close()


def test_a_database_that_does_not_answer_ends_with_1(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hidden@127.0.0.1:1/x")

    complaint = admin.run("key", "list", code=1)

    assert "The metadata database cannot be used" in complaint
    assert "hidden" not in complaint


def test_an_address_that_is_none_ends_with_2(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "hidden")

    complaint = admin.run("key", "list", code=2)

    assert "DATABASE_URL" in complaint
    assert "hidden" not in complaint


if _server_answers():

    @pytest.fixture
    def server_url() -> Iterator[str]:
        name = f"tracegist_admin_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(SERVER, autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"')
            yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def test_apply_works_on_postgresql(
        admin: Admin, server_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", server_url)

        first = json.loads(admin.run("apply", admin.declare(DECLARED), "--json"))
        second = json.loads(admin.run("apply", admin.declare(DECLARED), "--json"))

        assert first["projects"] == second["projects"] == {"main": 1, "other": 2}
        assert (len(first["keys"]), len(second["keys"])) == (2, 0)
