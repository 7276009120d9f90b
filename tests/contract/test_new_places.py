"""Code that is met for the first time is told of, once, on both recorders; what is called then harms nobody."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.contract.recorded import Recorded, record
from tests.cores import CORES
from tinytrace.tracer.session import Session


def told(which: str, program: Callable[[Callable[[], None]], None]) -> list[int]:
    """How often it was told of, after each part of a program."""
    calls: list[int] = []
    counts: list[int] = []

    def run() -> None:
        session = Session._current
        assert session is not None
        np.negative(1.0)  # what was met before is told of now
        session._recorder.on_new_place(lambda: calls.append(1))
        program(lambda: counts.append(len(calls)))
        session._recorder.on_new_place(None)
        np.positive(1.0)

    record(which, run)
    counts.append(len(calls))
    return counts


@pytest.mark.parametrize("which", CORES)
def test_new_code_is_told_of_once(which: str) -> None:
    def program(mark: Callable[[], None]) -> None:
        for _ in range(3):
            np.add(1, 2)
            mark()
        np.subtract(1, 2)
        mark()

    assert told(which, program) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("which", CORES)
def test_what_is_called_may_do_operations_itself(which: str) -> None:
    inside: list[float] = []

    def run() -> None:
        session = Session._current
        assert session is not None
        session._recorder.on_new_place(lambda: inside.append(float(np.multiply(2, 3))))
        np.add(1, 2)
        session._recorder.on_new_place(None)

    found = Recorded(record(which, run))
    assert 6.0 in inside
    names = [found.name(row) for row in found.rows]
    assert "add" in names and "multiply" in names
