"""Bound the nesting of one event's values, so that the rest may recurse without care."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from gc import get_referents
from itertools import islice

MAX_DEPTH = 200
TOO_DEEP = "[nested too deeply]"

_CONTAINERS = frozenset({dict, list, tuple})
_JSON_TYPES = frozenset({dict, list, str, int, float, bool, type(None)})
_MANY = 2000


def children(container: object) -> Collection[object]:
    """The direct values of an object or a list."""
    if isinstance(container, dict):
        return container.values()
    return container if isinstance(container, (list, tuple)) else ()


def levels(value: object) -> Iterator[tuple[set[type], list[object]]]:
    """What is inside `value`, level by level: the types that occur and the values."""
    level = [value] if type(value) in _CONTAINERS else []
    while level:
        found: list[object] = []
        for container in level:
            found += children(container)
        types = set(map(type, found))
        yield types, found
        level = [] if types.isdisjoint(_CONTAINERS) else [one for one in found if type(one) in _CONTAINERS]


def depth_of(value: object, *, stop: int = MAX_DEPTH) -> int:
    """How many containers deep `value` is, counted no further than just past `stop`."""
    return sum(1 for _ in islice(levels(value), stop + 1))


def all_shallow(values: Sequence[object]) -> bool:
    """Whether none of the objects holds more levels than can be shown."""
    # What containers refer to are their values and keys, so this may count a level too many but
    # never one too few, and it takes a fraction of the time.
    level: Sequence[object] = values
    for _ in range(MAX_DEPTH):
        level = get_referents(*level)
        if not level:
            return True
        # Other objects than those of JSON refer to their classes, and these to everything there is.
        if len(level) > _MANY and not _JSON_TYPES.issuperset(map(type, level)):
            break
    return _all_shallow_exactly(values)


def _all_shallow_exactly(values: Sequence[object]) -> bool:
    level: Sequence[object] = values
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for container in level:
            for one in container.values() if type(container) is dict else container:  # type: ignore[attr-defined]
                kind = type(one)
                if kind is dict or kind is list:
                    inner.append(one)
        if not inner:
            return True
        level = inner
    return False


def limit_depth(value: dict[str, object]) -> dict[str, object]:
    """The object itself, or a copy whose containers below the deepest level are replaced."""
    return value if all_shallow((value,)) else _copied(value)


def _copied(root: dict[str, object]) -> dict[str, object]:
    copy: dict[str, object] = {}
    pending: list[tuple[object, object, int]] = [(root, copy, 1)]
    while pending:
        source, target, depth = pending.pop()
        entries = source.items() if isinstance(source, dict) else enumerate(children(source))
        for key, value in entries:
            kept = value
            if isinstance(value, (dict, list)):
                kept = TOO_DEEP
                if depth < MAX_DEPTH:
                    kept = {} if isinstance(value, dict) else []
                    pending.append((value, kept, depth + 1))
            if isinstance(target, dict):
                target[key] = kept
            elif isinstance(target, list):
                target.append(kept)
    return copy
