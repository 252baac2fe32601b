"""Settings, routes, metrics and job kinds are documented, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from api_shim.app import create_app
from config.providers import KINDS
from config.settings import Settings, oauth_variable, variables
from jobs.kinds import JOB_KINDS
from jobs.states import JobState
from scripts import log_store_reference, settings_reference

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = ("api_shim", "cache", "config", "jobs", "storage", "tracegist", "workers")


def rows(page: str, folder: Path = REFERENCE) -> list[list[str]]:
    """The table rows of a page, as cells."""
    lines = (folder / page).read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if not set(row[0]) <= {"-", ":"}]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def metrics_in_code() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Exported names and labels of all Prometheus metrics."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            kinds = {
                name.asname or name.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
                for name in node.names
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                    if not node.args or not isinstance(node.args[0], ast.Constant):
                        continue
                    name = str(node.args[0].value)
                    if node.func.id == "Counter":
                        name = f"{name.removesuffix('_total')}_total"
                    labels = ast.literal_eval(node.args[2]) if len(node.args) > 2 else []
                    yield name, tuple(labels)


def test_settings_page_is_fresh() -> None:
    assert (REFERENCE / "settings.md").read_text() == settings_reference.reference()


def test_the_tables_of_the_log_store_are_documented_as_they_are_made() -> None:
    assert (REFERENCE / "log-store.md").read_text() == log_store_reference.reference()


def test_every_setting_is_documented_with_a_meaning() -> None:
    documented = {code(row[0])[0]: row[3] for row in rows("settings.md") if code(row[0])}

    # Of the providers, whose settings are alike, the page lists the first one's and names the others.
    others = tuple(oauth_variable(kind, "") for kind in KINDS[1:])
    assert documented.keys() == {name for name in variables() if not name.startswith(others)}
    assert set(others) <= set(code((REFERENCE / "settings.md").read_text()))
    assert all(documented.values())


def test_every_route_is_documented_with_its_scopes() -> None:
    documented = {(*code(row[0])[0].split(), tuple(code(row[1]))) for row in rows("api.md") if "/" in row[0]}
    served = {
        (method.upper(), path, tuple(scope for scope in operation.get("x-scopes", ()) if ":" in scope))
        for path, operations in create_app(Settings()).openapi()["paths"].items()
        for method, operation in operations.items()
    }

    assert documented == served


def test_every_metric_is_documented_with_its_labels() -> None:
    documented = {(code(row[0])[0], tuple(code(row[1]))) for row in rows("metrics.md") if code(row[0])}

    assert documented == set(metrics_in_code())


def test_every_job_kind_is_documented() -> None:
    table = [row for row in rows("jobs.md") if len(row) == 7 and code(row[0])]
    documented = {
        code(row[0])[0]: [*(code(cell)[0] for cell in row[1:4]), *row[4:6], code(row[6])[0]] for row in table
    }

    assert documented == {
        kind.name: [
            kind.task,
            kind.queue,
            " ".join(kind.scopes),
            f"{kind.time_limit_s}",
            str(kind.max_attempts),
            kind.timeout_code,
        ]
        for kind in JOB_KINDS.values()
    }


def test_every_state_is_documented() -> None:
    text = (REFERENCE / "jobs.md").read_text()

    assert [state for state in JobState if f"`{state}`" not in text] == []


def defined_in(path: Path) -> set[str]:
    """Functions of a module, and methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, FUNCTIONS)}
        elif isinstance(node, FUNCTIONS):
            names.add(node.name)
    return names


def test_the_walk_of_a_request_names_functions_that_exist() -> None:
    hops = [row for row in rows("architecture.md", ROOT / "docs") if row[0].isdecimal()]
    missing = [row for row in hops if code(row[2])[0] not in defined_in(ROOT / code(row[1])[0])]

    assert len(hops) > 10
    assert missing == []


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_every_table_has_its_head_and_room_around_it() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        lines = ["", *page.read_text().splitlines(), ""]
        for number in range(1, len(lines) - 1):
            before, line, after = lines[number - 1 : number + 2]
            if line.startswith("|") and (
                (not before.startswith("|") and not (before == "" and after.startswith("|--")))
                or (not after.startswith("|") and after != "")
            ):
                broken.append(f"{page.relative_to(ROOT)}:{number}")

    assert broken == []


def test_decisions_are_short_and_of_one_form() -> None:
    for page in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        text = page.read_text()
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page.name
        assert len(text.splitlines()) <= 60, page.name
