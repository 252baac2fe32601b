"""The page at `/docs`: made of own files only, able to show all of the document, and part of the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api_shim.app import create_app
from api_shim.routes.console import ASSETS
from config.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "api_shim" / "console"
OURS = ("api_shim", "cache", "config", "jobs", "storage", "tracegist", "workers")
DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = [
    pytest.param(path, operation, id=f"{method.upper()} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


class Page(HTMLParser):
    """What the page's markup holds: `addresses`, `ids`, and what the content policy would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in found) else []


@pytest.fixture(scope="module")
def page() -> Page:
    parsed = Page()
    parsed.feed((FOLDER / "docs.html").read_text())
    return parsed


@pytest.fixture(scope="module")
def script() -> str:
    return (FOLDER / "app.js").read_text()


def test_page_names_own_addresses_only(page: Page) -> None:
    served = {"/docs/app.js", "/docs/style.css", "/openapi.json"}

    assert {address for address in page.addresses if not address.startswith("#")} == {*served, "data:,"}


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_files_name_no_other_host(name: str) -> None:
    text = (FOLDER / name).read_text()

    assert re.findall(r"https?:|wss?:|[\"'(]//|@import|url\(", text) == []


def test_page_has_nothing_that_its_policy_stops(page: Page) -> None:
    assert page.inline == []


def test_script_makes_no_markup_out_of_text(script: str) -> None:
    assert (
        re.findall(r"\b(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", script)
        == []
    )


def test_script_looks_for_what_the_page_has(page: Page, script: str) -> None:
    sought = set(re.findall(r'field\("([^"]+)"\)', script))

    assert sought
    assert sought <= set(page.ids)


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_operation_has_what_the_page_shows(path: str, operation: dict[str, object]) -> None:
    assert operation["summary"]
    assert operation["operationId"]
    assert operation["responses"]
    if path.startswith(("/api/", "/v1/")):
        assert operation["x-scopes"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_script_reads_every_member_of_an_operation(
    path: str, operation: dict[str, object], script: str
) -> None:
    read = set(re.findall(r'operation(?:\.|\[")([\w-]+)', script))

    assert operation.keys() - {"security"} <= read  # a key is needed where there are scopes


def test_every_operation_belongs_to_one_named_capability() -> None:
    named = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    used = [tuple(operation["tags"]) for ops in DOCUMENT["paths"].values() for operation in ops.values()]

    assert {(name,) for name in named} == set(used)
    assert all(named.values())


def test_names_of_operations_are_unique() -> None:
    ids = [operation["operationId"] for ops in DOCUMENT["paths"].values() for operation in ops.values()]

    assert len(ids) == len(set(ids))


def test_wheel_holds_the_page(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for package in OURS:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"

    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, timeout=100, check=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        for name, asset in ASSETS.items():
            assert opened.read(f"api_shim/console/{name}") == asset.content
