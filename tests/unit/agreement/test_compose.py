"""docker-compose.yml and the Dockerfile name only what the code has."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import typer
import yaml
from celery import Celery
from celery.bin.beat import beat
from celery.bin.worker import worker

from api_shim.app import create_app
from config.settings import Settings, load_settings, variables
from jobs.broker import QUEUES
from jobs.kinds import JOB_KINDS, MAINTENANCE_QUEUE, RENDER_QUEUE
from tracegist.cli.main import app as cli

ROOT = Path(__file__).parents[3]
FILE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IMAGE_COMMAND = next(line.removeprefix("CMD ") for line in DOCKERFILE.splitlines() if line.startswith("CMD "))
PASSWORD = "correct-horse"  # what an operator would write to .env
WRITTEN = {
    "POSTGRES_PASSWORD": PASSWORD,
    "CLICKHOUSE_PASSWORD": PASSWORD,
    "TRACEGIST_ENCRYPTION_KEYS": "c2VhbGVkLXdpdGgtMzItYnl0ZXMtb2YtYS10ZXN0ISE=",
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


def interpolated(node: Any) -> Any:
    """As Compose does it with an environment of what it demands: after parsing, in values only."""
    if isinstance(node, dict):
        return {key: interpolated(value) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value) for value in node]
    if isinstance(node, str):
        return VARIABLE.sub(lambda found: found[3] if found[2] == ":-" else WRITTEN[found[1]], node)
    return node


COMPOSE: dict[str, Any] = interpolated(yaml.safe_load(FILE))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
STORE_PORTS = {"valkey": 6379, "postgres": 5432, "clickhouse": 8123}


def command_of(name: str) -> list[str]:
    return shlex.split(SERVICES[name]["command"])


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}


def option(name: str, flag: str) -> str:
    words = command_of(name)
    return words[words.index(flag) + 1]


def workers() -> dict[str, str]:
    """Queue -> service that consumes it."""
    running = [name for name in OURS if command_of(name)[3:4] == ["worker"]]
    return {option(name, "-Q"): name for name in running}


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def test_every_process_of_the_product_is_there() -> None:
    assert {"shim", "beat", "migrate", "valkey", "postgres", "clickhouse", "flower"} <= SERVICES.keys()
    assert SERVICES["flower"]["profiles"] == ["flower"]


def test_every_queue_with_work_has_one_worker() -> None:
    needed = {kind.queue for kind in JOB_KINDS.values()} | {MAINTENANCE_QUEUE}

    assert needed == workers().keys()
    assert needed <= set(QUEUES)


def test_only_the_render_worker_forks() -> None:
    pools = {queue: option(name, "-P") for queue, name in workers().items()}

    assert {queue for queue, pool in pools.items() if pool == "prefork"} == {RENDER_QUEUE}
    assert set(pools.values()) == {"prefork", "threads"}


@pytest.mark.parametrize("name", [name for name in OURS if command_of(name)[0] != "python"])
def test_program_is_installed_by_the_lock(name: str) -> None:
    program = command_of(name)[0]
    scripts = importlib.metadata.entry_points(group="console_scripts", name=program)
    owners = {script.dist.name for script in scripts if script.dist is not None}
    pinned = (ROOT / "requirements/base.txt").read_text()

    assert owners
    assert all(owner == "tracegist" or f"\n{owner}==" in pinned for owner in owners)


@pytest.mark.parametrize("name", [name for name in OURS if command_of(name)[0] == "celery"])
def test_celery_finds_the_app_and_knows_the_options(name: str) -> None:
    words = command_of(name)
    module = importlib.import_module(words[words.index("-A") + 1])
    known = {"worker": worker, "beat": beat}

    assert isinstance(module.app, Celery)
    if words[3] in known:
        given = {word for word in words[4:] if word.startswith("-")}
        assert given <= options_of(known[words[3]])
    else:
        assert words[3] == "flower"


def test_shim_knows_the_options_and_finds_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: started.append({"app": app, **options}))
    python, flag, module, *options = command_of("shim")
    monkeypatch.setattr("sys.argv", [module, *options])

    importlib.import_module(f"{module}.__main__").main()

    assert (python, flag) == ("python", "-m")
    (given,) = started
    module, factory = given["app"].split(":")
    assert getattr(importlib.import_module(module), factory) is create_app
    assert {name: given[name] for name in ("host", "port")} == {"host": "0.0.0.0", "port": 8000}
    assert json.loads(IMAGE_COMMAND) == command_of("shim")


def command_options(command: Any) -> set[str]:
    parameters = command.params if isinstance(command, click.Command) else command.__click_params__
    return {name for parameter in parameters for name in parameter.opts + parameter.secondary_opts}


def test_migrations_are_a_command() -> None:
    group: Any = typer.main.get_command(cli)
    for word in command_of("migrate")[1:]:
        assert word in group.commands
        group = group.commands[word]


def test_published_ports_are_listened_on() -> None:
    assert SERVICES["shim"]["ports"][0].endswith(f":{option('shim', '--port')}")
    assert SERVICES["flower"]["ports"][0].endswith(command_of("flower")[-1].replace("--port=", ":"))
    assert f"EXPOSE {option('shim', '--port')}" in DOCKERFILE


def test_stores_publish_no_port() -> None:
    assert [name for name in STORE_PORTS if "ports" in SERVICES[name]] == []
    assert COMPOSE["networks"]["stores"] == {"internal": True}


def test_shim_is_checked_at_an_address_that_it_serves() -> None:
    address = re.search(r"http://[^']+", SERVICES["shim"]["healthcheck"]["test"][-1])
    assert address
    checked = urlsplit(address[0])

    assert checked.path in create_app(Settings()).openapi()["paths"]
    assert str(checked.port) == option("shim", "--port")
    assert checked.hostname in Settings().allowed_hosts


@pytest.mark.parametrize("name", sorted(STORE_PORTS))
def test_stores_are_checked_at_their_port(name: str) -> None:
    assert str(STORE_PORTS[name]) in " ".join(SERVICES[name]["healthcheck"]["test"])


@pytest.mark.parametrize("name", OURS)
def test_environment_names_are_settings(name: str) -> None:
    known = set(variables())
    known |= {f"{variable}_FILE" for variable in known}

    assert SERVICES[name]["environment"].keys() <= known


@pytest.mark.parametrize("name", OURS)
def test_environment_is_accepted_and_points_at_services(name: str) -> None:
    environ = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    settings = load_settings(environ)
    redis, database = urlsplit(settings.redis_url), urlsplit(settings.database_url)

    assert (redis.hostname, redis.port) == ("valkey", STORE_PORTS["valkey"])
    assert (database.hostname, database.port) == ("postgres", STORE_PORTS["postgres"])
    assert database.password == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_defaults_are_those_of_the_settings() -> None:
    for name in OURS:
        chosen = load_settings({key: str(value) for key, value in SERVICES[name]["environment"].items()})
        defaults = Settings(
            redis_url=chosen.redis_url,
            database_url=chosen.database_url,
            encryption_keys=chosen.encryption_keys,
            clickhouse_url=chosen.clickhouse_url,
            log_format="json",
        )
        assert chosen.model_dump() == defaults.model_dump()
    assert option("worker-llm", "-c") == str(Settings().llm_concurrency)
    assert option("worker-logs", "-c") == str(Settings().logs_concurrency)
    assert option("worker-render", "-c") == str(Settings().render_processes)


def test_log_worker_asks_the_log_store_with_its_password() -> None:
    address = urlsplit(str(SERVICES["worker-logs"]["environment"]["CLICKHOUSE_URL"]))
    store = SERVICES["clickhouse"]["environment"]

    assert (address.hostname, address.port) == ("clickhouse", STORE_PORTS["clickhouse"])
    assert (address.username, address.password) == (store["CLICKHOUSE_USER"], store["CLICKHOUSE_PASSWORD"])
    assert address.path == f"/{store['CLICKHOUSE_DB']}"
    assert "profiles" not in SERVICES["clickhouse"]


def test_every_variable_is_a_setting_or_a_known_other() -> None:
    settings = set(variables())
    others = {"POSTGRES_PASSWORD", "CLICKHOUSE_PASSWORD", "TRACEGIST_LISTEN", "WORKER_FLAGS"}

    assert {match[1] for match in VARIABLE.finditer(FILE)} <= settings | others


def test_secrets_come_from_outside() -> None:
    secret = re.compile(r"^\s*(\w*(?:PASSWORD|API_KEY|SECRET|ENCRYPTION_KEYS)\w*): *(.*)$", re.MULTILINE)

    assert secret.findall(FILE)
    assert all(VARIABLE.fullmatch(value) for _, value in secret.findall(FILE))
    assert all(f"${{{name}:?" in FILE for name in WRITTEN)


def test_dependencies_exist_and_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, rule in service.get("depends_on", {}).items():
            if rule["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert (name, rule["condition"]) == ("migrate", "service_completed_successfully")
                assert SERVICES[name]["restart"] == "no"


def test_stopping_waits_for_what_is_at_work() -> None:
    settings = Settings()

    assert seconds(SERVICES["shim"]["stop_grace_period"]) > settings.sync_wait_s
    assert seconds(SERVICES["worker-llm"]["stop_grace_period"]) > settings.llm_deadline_s
    assert seconds(SERVICES["worker-logs"]["stop_grace_period"]) > settings.logs_query_timeout_s


def test_store_keeps_what_it_was_given() -> None:
    words = command_of("valkey")

    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert any(volume.startswith("valkey:") for volume in SERVICES["valkey"]["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_processes_have_no_rights_they_do_not_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_image_is_a_stage_of_the_dockerfile(name: str) -> None:
    assert re.search(rf"^FROM \S+ AS {SERVICES[name]['build']['target']}$", DOCKERFILE, re.MULTILINE)


def stages() -> dict[str, str]:
    """Name of a stage -> its text; the last has no name."""
    parts = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {(re.match(r"FROM \S+(?: AS (\S+))?", part) or [""])[1] or "": part for part in parts}


def test_images_run_as_a_user_without_rights() -> None:
    final = stages()

    assert re.search(r"^USER (?!0)\d+:(?!0)\d+$", final["tracegist"], re.MULTILINE)
    assert final["flower"].startswith("FROM tracegist ")
    assert "USER" not in final["flower"]
    assert final[""].strip() == "FROM tracegist"


def test_image_starts_the_shim_as_compose_does() -> None:
    command = re.search(r"^CMD (\[.*\])$", stages()["tracegist"], re.MULTILINE)

    assert command
    assert yaml.safe_load(command[1]) == command_of("shim")


def test_image_installs_from_locks_only() -> None:
    installs = re.findall(r"pip install .*", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_image_holds_every_package_and_nothing_that_is_missing() -> None:
    copied = {
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for path in line.split()[:-1]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert packages <= copied
    assert [path for path in sorted(copied) if not (ROOT / path).exists()] == []
    assert [path for path in sorted(copied) if not any(Path(path).is_relative_to(a) for a in allowed)] == []
