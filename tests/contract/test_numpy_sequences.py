"""Tuples and lists as operands: those of Python numbers have a size, and count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.contract.recorded import Recorded, record
from tests.cores import CORES
from tinytrace.analysis.counting import count
from tinytrace.exporters.registry import export
from tinytrace.tracer.trace import Trace


@pytest.fixture(scope="module", params=CORES)
def trace(request: pytest.FixtureRequest) -> Trace:
    def program() -> None:
        np.multiply.reduce((3, 4, 5))
        np.multiply.reduce((3, 4))  # the same call but for the size
        np.multiply.reduce([1.0] * 1000)
        np.multiply.reduce(())
        np.multiply.reduce(7)
        np.add.accumulate([True, 2, 3j])
        np.add((1, 2), [1.5, 2])
        np.add((1, 2, 3), 1)
        np.add([[1, 2], [3, 4]], 1)
        np.add([np.float64(1), 2], 1)
        np.add.reduce([[1, 2], [3, 4]])

    return record(str(request.param), program)


def test_sizes_and_kinds_of_numbers_are_recorded(trace: Trace) -> None:
    ops = Recorded(trace)
    assert [ops.text(row) for row in ops.inside(-1)] == [
        "multiply.reduce[o3:i8->s:i8]",
        "multiply.reduce[o2:i8->s:i8]",
        "multiply.reduce[o1000->s]",
        "multiply.reduce[o0->s]",
        "multiply.reduce[p:int->s:i8]",
        "add.accumulate[o3:c16->3:c16]",
        "add[o2:i8,o2->2]",
        "add[o3:i8,p:int->3:i8]",
        "add[o,p:int->2x2:i8]",  # nested
        "add[o,p:int->2]",
        "add.reduce[o->2:i8]",
    ]


def test_they_count(trace: Trace) -> None:
    flops = [
        count(trace.signatures[int(trace.spans.signature_id[row])]).flops
        for row in Recorded(trace).inside(-1)
    ]
    assert flops == [2, 1, 999, 0, 0, 4, 2, 3, 4, 2, None]


def test_a_trace_with_them_is_read_back_as_it_was(trace: Trace, tmp_path: Path) -> None:
    export(trace, tmp_path / "trace.json")
    assert tt.load(tmp_path / "trace.json").signatures == trace.signatures
