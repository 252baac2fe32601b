"""`tracegist admin`: projects, users, keys, flags and stored secrets, straight in the metadata database.

It may run beside the stack. A command is one transaction; secrets are printed after it is committed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from config.settings import Settings, SettingsError, load_settings
from jobs.errors import TracegistError, ValidationFailed
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.records import format_time
from storage import projects as project_rows
from storage import provisioning
from storage import secrets as sealed_secrets
from storage.declaration import Declaration, parse_declaration
from storage.migrations import upgrade
from storage.models import ApiKey, Project, User
from storage.session import make_engine, make_sessions

BAD_INPUT = 2
NO_DATABASE = 1
UNREADABLE = 1

app = typer.Typer(help="Projects, users, keys, flags and stored secrets.", no_args_is_help=True)
keys = typer.Typer(help="Make, list, roll and revoke keys.", no_args_is_help=True)
projects = typer.Typer(help="Make and list projects.", no_args_is_help=True)
users = typer.Typer(help="Make and deactivate users.", no_args_is_help=True)
flags = typer.Typer(help="Switch features of a project.", no_args_is_help=True)
secrets = typer.Typer(help="Stored secrets of integrations.", no_args_is_help=True)
app.add_typer(keys, name="key")
app.add_typer(projects, name="project")
app.add_typer(users, name="user")
app.add_typer(flags, name="flag")
app.add_typer(secrets, name="secrets")


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder, when it is not TRACEGIST_DATA_DIR.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyName = Annotated[str, typer.Argument(help="Name of the key.")]
Email = Annotated[str, typer.Argument(help="Email address of the user.")]


@app.command("migrate")
def migrate(data_dir: DataDir = None) -> None:
    """Bring the tables of the metadata database up to date; harmless when they are."""
    with _transaction(data_dir):
        print("The metadata database is up to date.")


@app.command("apply")
def apply_file(
    file: Annotated[
        Path, typer.Argument(help="JSON with projects, users and keys; `-` reads standard input.")
    ],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create what a declaration names and is missing, all or nothing."""
    with _transaction(data_dir) as session:
        applied = provisioning.apply(session, _read_declaration(file))
    if as_json:
        _print_json({"projects": applied.projects, "keys": applied.keys})
        return
    for name, project_id in applied.projects.items():
        print(f"project {project_id}: {name}")
    for name, secret in applied.keys.items():
        _print_secret(name, secret)
    if not applied.keys:
        print("No key was made.")


@keys.command("create")
def create_key(
    name: KeyName,
    user: Annotated[str, typer.Option("--user", help="Email address of the user it acts as.")],
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Scope, or `*`; repeatable.")] = None,
    project: Annotated[
        list[str] | None, typer.Option("--project", help="Only this project of the user; repeatable.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Up to 40 characters; else the name.")] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help="Time with its zone, `2030-01-31T00:00:00Z`.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print its secret, once."""
    given = {"projects": project or None, "label": label, "expires_at": expires_at}
    declared: dict[str, object] = {"name": name, "user": user, "scopes": scope or []}
    declared |= {member: value for member, value in given.items() if value is not None}
    with _transaction(data_dir) as session:
        secret = provisioning.create_key(session, declared)
    _print_key(name.strip(), secret, as_json=as_json)


@keys.command("list")
def list_keys(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the keys, without their secrets."""
    with _transaction(data_dir) as session:
        shown = [_key_as_json(key, user) for key, user in provisioning.list_keys(session)]
    if as_json:
        _print_json(shown)
    else:
        _print_table(shown, ("name", "user", "mask", "scopes", "projects", "state", "last_used_at"))


@keys.command("roll")
def roll_key(name: KeyName, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Give a key a new secret and print it; the old one stops working."""
    with _transaction(data_dir) as session:
        secret = provisioning.roll_key(session, name)
    _print_key(name, secret, as_json=as_json)


@keys.command("revoke")
def revoke_key(name: KeyName, data_dir: DataDir = None) -> None:
    """End a key for good."""
    with _transaction(data_dir) as session:
        provisioning.revoke_key(session, name)
    print(f"The key {name} is revoked; it stops working within 10 seconds.")


@projects.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="Name of the project.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a project."""
    with _transaction(data_dir) as session:
        project = provisioning.create_project(session, name)
    if as_json:
        _print_json({"projects": {project.name: project.id}})
    else:
        print(f"project {project.id}: {project.name}")


@projects.command("list")
def list_projects(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the projects with their flags."""
    with _transaction(data_dir) as session:
        _, found = project_rows.list_projects(session)
    shown = [_project_as_json(project) for project in found]
    if as_json:
        _print_json(shown)
    else:
        _print_table(shown, ("id", "name", "feature_flags", "ai_data_processing_approved"))


@users.command("create")
def create_user(
    email: Email,
    project: Annotated[
        list[str] | None, typer.Option("--project", help="A project the user may use; repeatable.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a user; it acts through keys only."""
    with _transaction(data_dir) as session:
        user = provisioning.create_user(session, email, projects=project or ())
    print(f"user {user.id}: {user.email}")


@users.command("deactivate")
def deactivate_user(email: Email, data_dir: DataDir = None) -> None:
    """Stop all keys of a user."""
    with _transaction(data_dir) as session:
        user = provisioning.deactivate_user(session, email)
    print(f"The user {user.email} is not active; its keys stop working within 10 seconds.")


@flags.command("set")
def set_flag(
    project: Annotated[str, typer.Argument(help="Name or id of the project.")],
    flag: Annotated[str, typer.Argument(help="Name of the flag.")],
    value: Annotated[Switch, typer.Argument(help="on or off")],
    data_dir: DataDir = None,
) -> None:
    """Switch a feature of a project."""
    with _transaction(data_dir) as session:
        changed = provisioning.set_flag(session, project, flag, on=value is Switch.ON)
    print(f"project {changed.id}: {flag} is {value}")


@secrets.command("rotate")
def rotate_secrets(data_dir: DataDir = None) -> None:
    """Seal stored secrets again with the first of TRACEGIST_ENCRYPTION_KEYS; exits 1 when one cannot be."""
    with _transaction(data_dir) as session:
        rotated = sealed_secrets.rotate(session, sealed_secrets.open_vault(_settings(data_dir)))
    print(f"{rotated.sealed} sealed with the first key.")
    if rotated.unreadable:
        _fail(
            f"{rotated.unreadable} can be opened with none of the keys and were left as they are.", UNREADABLE
        )


@contextmanager
def _transaction(data_dir: Path | None) -> Iterator[Session]:
    """One transaction in an up-to-date database; what goes wrong ends the command."""
    try:
        engine = make_engine(_settings(data_dir).effective_database_url)
        try:
            upgrade(engine)
            with make_sessions(engine).begin() as session:
                yield session
        finally:
            engine.dispose()
    except TracegistError as error:
        _fail(error.detail, BAD_INPUT)
    except SettingsError as error:
        _fail(str(error), BAD_INPUT)
    except ArgumentError:
        _fail("DATABASE_URL: not an address of a database.", BAD_INPUT)
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        _fail(f"The metadata database cannot be used: {reason}", NO_DATABASE)


def _settings(data_dir: Path | None) -> Settings:
    return load_settings() if data_dir is None else load_settings(data_dir=data_dir)


def _read_declaration(file: Path) -> Declaration:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return parse_declaration(load_json(content))
    except OSError as error:
        raise ValidationFailed(f"{file}: {error.strerror}.") from error
    except JsonSyntaxError as error:
        raise ValidationFailed(f"{file}: {error}") from error
    except ValidationFailed as error:
        raise ValidationFailed(f"{file}: {error.detail}") from error


def _key_as_json(key: ApiKey, user: User) -> dict[str, object]:
    return {
        "name": key.name,
        "label": key.label,
        "user": user.email,
        "mask": key.mask,
        "scopes": key.scopes,
        "projects": key.projects,
        "state": _state(key, user),
        "created_at": _shown(key.created_at),
        "last_used_at": _shown(key.last_used_at),
        "expires_at": _shown(key.expires_at),
        "last_rolled_at": _shown(key.last_rolled_at),
        "revoked_at": _shown(key.revoked_at),
    }


def _state(key: ApiKey, user: User) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "valid" if user.active else "user not active"


def _project_as_json(project: Project) -> dict[str, object]:
    return {
        "id": project.id,
        "name": project.name,
        "feature_flags": project_rows.flags_of(project),
        "ai_data_processing_approved": project.ai_data_processing_approved,
    }


def _shown(moment: datetime | None) -> str | None:
    return format_time(None if moment is None else moment.timestamp())


def _print_key(name: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        _print_json({"keys": {name: secret}})
    else:
        _print_secret(name, secret)


def _print_secret(name: str, secret: str) -> None:
    print(f"key {name}: {secret}  (shown once, keep it now)")


def _print_json(value: object) -> None:
    print(dump_json(value).decode())


def _print_table(shown: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Aligned columns of any width: a cut name or mask would be of no use in a pipe."""
    rows = [columns, *(tuple(_cell(row[column]) for column in columns) for row in shown)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={'on' if on else 'off'}" for name, on in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)
