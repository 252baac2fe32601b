"""Check, without a network, that the lock files answer to `pyproject.toml`.

Every requirement has a pin that satisfies it, every pin has its hashes, the files agree with each other, and
none of them names an index or an address.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FLOWER = Path("deploy/flower")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\Z")
ADDRESS = re.compile(r"[a-z+]+://|^\s*(-i|-f|-e|--(?!hash=)[a-z-]+)\b")


@dataclass(frozen=True, slots=True)
class Pin:
    """One `name==version` of a lock file, for machines that its marker (may be empty) is true on."""

    name: str
    version: Version
    marker: str
    hashes: int


class LockError(Exception):
    """A line of a lock file that is no pin."""


def read_pins(text: str) -> list[Pin]:
    """The pins of a lock file.

    Raises:
        LockError: a line is something else than a pin, a comment or a blank.
    """
    joined = text.replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    return [_pin(line) for line in lines if line and not line.startswith("#")]


def _pin(line: str) -> Pin:
    words = line.split()
    hashes = [word for word in words if HASH.match(word)]
    try:
        requirement = Requirement(" ".join(word for word in words if not word.startswith("--hash=")))
    except InvalidRequirement as error:
        raise LockError(f"not a pin: {line[:80]}") from error
    exact = list(requirement.specifier)
    if len(exact) != 1 or exact[0].operator != "==" or "*" in exact[0].version:
        raise LockError(f"not an exact version: {line[:80]}")
    return Pin(
        canonicalize_name(requirement.name), Version(exact[0].version), str(requirement.marker), len(hashes)
    )


def problems_of(wanted: Iterable[str], pins: Iterable[Pin]) -> Iterator[str]:
    """What is wrong with pins that are to satisfy `wanted`."""
    known: dict[str, list[Pin]] = {}
    for pin in pins:
        known.setdefault(pin.name, []).append(pin)
        if not pin.hashes:
            yield f"{pin.name}=={pin.version} has no hash"
    for text in wanted:
        requirement = Requirement(text)
        found = known.get(canonicalize_name(requirement.name), [])
        if not found:
            yield f"{text} is not locked"
        for pin in found:
            if not requirement.specifier.contains(pin.version, prereleases=True):
                yield f"{text} is locked as {pin.version}"


def addresses_in(text: str) -> Iterator[str]:
    """Lines with an index, a link or an option; comments count too: they tell where a lock was made."""
    for number, line in enumerate(text.splitlines(), start=1):
        if ADDRESS.search(line.split("--hash=")[0]):
            yield f"line {number} has an address or option: {line.strip()[:60]}"


def disagreements(locks: Mapping[str, list[Pin]]) -> Iterator[str]:
    """Packages that two files pin differently."""
    first: dict[tuple[str, str], tuple[str, Version]] = {}
    for file, pins in locks.items():
        for pin in pins:
            other, version = first.setdefault((pin.name, pin.marker), (file, pin.version))
            if version != pin.version:
                yield f"{file}: {pin.name} is {pin.version}, but {version} in {other}"


def wanted_by_file(root: Path) -> dict[str, list[str]]:
    """Which requirements each lock file has to satisfy."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    base = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    runtime = [*base, *(text for extra in extras.values() for text in extra)]
    flower = (root / FLOWER / "requirements.in").read_text().splitlines()
    return {
        "requirements/base.txt": base,
        "requirements/runtime.txt": runtime,
        "requirements/dev.txt": [*runtime, *project["dependency-groups"]["dev"]],
        "requirements/build.txt": project["build-system"]["requires"],
        f"{FLOWER}/requirements.txt": [line for line in flower if line and not line.startswith("#")],
    }


def check(root: Path) -> list[str]:
    """Everything that is wrong with the lock files; empty when all is well."""
    found: list[str] = []
    locks: dict[str, list[Pin]] = {}
    for file, wanted in wanted_by_file(root).items():
        try:
            text = (root / file).read_text()
            locks[file] = read_pins(text)
        except (OSError, LockError) as error:
            found.append(f"{file}: {error}")
            continue
        found += [f"{file}: {problem}" for problem in problems_of(wanted, locks[file])]
        found += [f"{file}: {problem}" for problem in addresses_in(text)]
    known = {str(root / file) for file in wanted_by_file(root)}
    strays = [path for path in sorted((root / "requirements").glob("*.txt")) if str(path) not in known]
    found += [f"requirements/{path.name}: nothing says what this file locks" for path in strays]
    return found + list(disagreements(locks))


def main() -> int:
    found = check(ROOT)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print("Run `make lock`.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
