"""The collector still collects; in a process of its own, since it is the whole process that changes."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from config.collector import THRESHOLDS, spare_imports

class Node:
    pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

spare_imports()
assert gc.get_freeze_count() > 1_000
left = cycle()
kept = [[] for _ in range(THRESHOLDS[0] * 2)]
print(left() is None)
"""


def test_what_comes_after_is_still_collected() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)

    assert done.stdout == "True\n"
