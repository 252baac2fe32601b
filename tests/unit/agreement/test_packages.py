"""The installed packages: names, locks, and whether the locks are enough."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from scripts import check_lock

ROOT = Path(__file__).parents[3]
OURS = ("api_shim", "cache", "config", "jobs", "storage", "tracegist", "workers")

# Imports all that the image runs, while only packages from the lock can be found. kombu and uvicorn load some
# of what they need when they first use it, so that is named here.
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in BLOCKED:
            raise ModuleNotFoundError(f'{name} is not in the lock', name=name)

sys.meta_path.insert(0, Missing())
for package in OURS:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f'{package}.'):
        if not module.name.endswith(('.migrations.env', '.__main__')):  # these run when imported
            importlib.import_module(module.name)
for module in (
    'celery.beat', 'celery.bin.celery', 'celery.concurrency.prefork', 'celery.concurrency.thread',
    'httptools', 'kombu.transport.pyamqp', 'kombu.transport.redis', 'psycopg',
    'sqlalchemy.dialects.postgresql', 'uvicorn.loops.uvloop', 'uvicorn.protocols.http.httptools_impl',
    'uvloop',
):
    importlib.import_module(module)
"""


@pytest.mark.parametrize("package", OURS)
def test_no_dependency_ships_a_package_named_like_ours(package: str) -> None:
    others = {name for name in packages_distributions().get(package, []) if name != "tracegist"}

    assert others == set()


def test_locks_answer_to_the_project() -> None:
    assert check_lock.check(ROOT) == []


def test_lock_of_the_image_is_enough() -> None:
    pins = check_lock.read_pins((ROOT / "requirements/base.txt").read_text())
    locked = {pin.name for pin in pins if pin.marker == "None" or Marker(pin.marker).evaluate()}
    blocked = {
        top
        for top, names in packages_distributions().items()
        if top not in OURS and not {canonicalize_name(name) for name in names} & locked
    }
    program = f"BLOCKED, OURS = {sorted(blocked)!r}, {OURS!r}\n{IMPORT_EVERYTHING}"

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.stderr == ""
    assert run.returncode == 0


LOCKED = "--hash=sha256:" + "0" * 64


def test_lock_with_pin_and_hash_is_fine() -> None:
    pins = check_lock.read_pins(f"demo==2.1 ; sys_platform != 'win32' \\\n    {LOCKED}\n    # via other\n")

    assert list(check_lock.problems_of(["Demo[fast]>=2"], pins)) == []


def test_pin_that_is_too_old_is_found() -> None:
    pins = check_lock.read_pins(f"demo==1.9 {LOCKED}")

    assert list(check_lock.problems_of(["demo>=2"], pins)) == ["demo>=2 is locked as 1.9"]


def test_requirement_without_a_pin_is_found() -> None:
    assert list(check_lock.problems_of(["demo>=2"], [])) == ["demo>=2 is not locked"]


def test_pin_without_a_hash_is_found() -> None:
    assert list(check_lock.problems_of([], check_lock.read_pins("demo==2.1"))) == ["demo==2.1 has no hash"]


@pytest.mark.parametrize("line", ["demo>=2", "demo==2.*", "-e .", "./demo.whl"])
def test_line_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(check_lock.LockError):
        check_lock.read_pins(line)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url somewhere",
        "-i somewhere",
        "demo @ https://host/demo.whl",
        "# via http://host/simple",
        "-e .",
    ],
)
def test_address_in_a_lock_is_found(line: str) -> None:
    assert len(list(check_lock.addresses_in(line))) == 1


def test_files_that_disagree_are_found() -> None:
    locks = {"a.txt": check_lock.read_pins("demo==1"), "b.txt": check_lock.read_pins("demo==2")}

    assert list(check_lock.disagreements(locks)) == ["b.txt: demo is 2, but 1 in a.txt"]
