"""Inserts pass the gate together, a repair alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

from workers.logs.gate import InsertGate


def ticking(*times: int) -> Callable[[], int]:
    """A clock that shows these times, then the last one for ever."""
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_inserts_pass_together_and_the_checkpoint_is_the_oldest_of_them() -> None:
    gate = InsertGate(ticking(10, 20, 30))

    with gate.inserting() as first, gate.inserting() as second:
        assert (first, second) == (10, 20)
        assert gate.checkpoint() == 10

    assert gate.checkpoint() == 30


def test_time_never_goes_back() -> None:
    gate = InsertGate(ticking(100, 50, 70))

    assert gate.checkpoint() == 100
    with gate.inserting() as observed:
        assert observed == 100


def test_a_repair_waits_for_inserts_and_holds_new_ones_back() -> None:
    gate = InsertGate(lambda: 0)
    order: list[str] = []
    repairing, begun = threading.Event(), threading.Event()

    def repair() -> None:
        begun.set()
        with gate.alone():
            repairing.set()
            order.append("repair")

    def insert() -> None:
        with gate.inserting():
            order.append("second insert")

    repairer = threading.Thread(target=repair)
    with gate.inserting():
        repairer.start()
        begun.wait()
        assert not repairing.wait(0.05)
        order.append("first insert")
    repairer.join()
    inserter = threading.Thread(target=insert)
    inserter.start()
    inserter.join()

    assert order == ["first insert", "repair", "second insert"]


def test_new_inserts_wait_while_a_repair_runs() -> None:
    gate = InsertGate(lambda: 0)
    passed = threading.Event()

    def insert() -> None:
        with gate.inserting():
            passed.set()

    with gate.alone():
        inserter = threading.Thread(target=insert)
        inserter.start()
        assert not passed.wait(0.05)
    inserter.join()

    assert passed.is_set()


def test_a_fault_opens_the_gate_again() -> None:
    gate = InsertGate(lambda: 0)

    for passage in (gate.inserting, gate.alone):
        try:
            with passage():
                raise KeyError
        except KeyError:
            pass

    with gate.alone():
        pass
