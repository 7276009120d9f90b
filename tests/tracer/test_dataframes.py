"""A trace as data frames and Arrow tables: the same rows, with names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings

from tests.builders import START_NS, TraceBuilder, trace_of, traces
from tinytrace.tracer.dataframes import TABLES
from tinytrace.tracer.trace import Trace

ASK = """
from tinytrace import TinytraceError, Trace
try:
    Trace().{method}()
except TinytraceError as error:
    print(error)
"""
PROGRAM = "step(matmul[2x3:f4,3x4:f4->2x4:f4]:5@train.py:42:forward add!:2) exp?"


def test_spans_have_names_places_and_flags() -> None:
    spans = trace_of(PROGRAM).to_pandas()["spans"]
    assert spans["name"].tolist() == ["step", "matmul", "add", "exp"]
    assert spans["kind"].tolist() == ["step", "op", "op", "op"]
    assert spans["dur_ns"].tolist() == [7000, 5000, 2000, 1000]
    assert spans["parent"].tolist() == [-1, 0, 0, -1]
    assert spans["raised"].tolist() == [False, False, True, False]
    assert spans["open"].tolist() == [False, False, False, True]
    row = spans.iloc[1]
    assert (row["file"], row["line"], row["function"]) == ("train.py", 42, "forward")
    assert spans["file"].isna().tolist() == [True, False, True, True]
    assert spans["line"].tolist() == [0, 42, 0, 0]
    assert spans["args"].isna().all()


def test_signatures_have_shapes_and_dtypes_of_their_operands() -> None:
    [row] = trace_of(PROGRAM).to_pandas()["signatures"].to_dict("records")
    assert (row["op"], row["n_inputs"], row["attributes"]) == ("matmul", 2, "")
    assert row["shapes"] == [[2, 3], [3, 4], [2, 4]]
    assert row["dtypes"] == ["float32"] * 3


def test_ops_can_be_grouped_by_name() -> None:
    spans = trace_of("add:1 exp:5 add:2").to_pandas()["spans"]
    assert spans.groupby("name", observed=True)["dur_ns"].sum().to_dict() == {
        "add": 3000,
        "exp": 5000,
    }


def test_arrow_tables_hold_what_the_data_frames_hold() -> None:
    trace = trace_of(PROGRAM)
    frames, tables = trace.to_pandas(), trace.to_arrow()
    assert list(frames) == list(tables) == [*TABLES, "signatures"]
    for name, table in tables.items():
        frame = frames[name]
        assert table.column_names == list(frame.columns)
        for column in table.column_names:
            values = [
                value if known else None
                for value, known in zip(
                    frame[column].tolist(), frame[column].notna().tolist(), strict=True
                )
            ]
            assert table[column].to_pylist() == values, (name, column)
    assert pyarrow.types.is_dictionary(tables["spans"].schema.field("name").type)


def test_names_that_are_no_text_are_escaped_and_equal_ones_are_one() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    for name in ("a\udc80", "a\\udc80"):
        builder.span(0, START_NS, 1, name)
    trace = builder.build()
    assert trace.to_arrow()["spans"]["name"].to_pylist() == ["a\\udc80"] * 2
    assert trace.to_pandas()["spans"]["name"].tolist() == ["a\\udc80"] * 2


@settings(max_examples=40, deadline=None)
@given(traces())
def test_any_trace_has_all_of_its_rows_and_numbers(trace: Trace) -> None:
    frames, tables = trace.to_pandas(), trace.to_arrow()
    for name in TABLES:
        table = getattr(trace, name)
        assert len(frames[name]) == tables[name].num_rows == len(table)
        for column, values in table.columns():
            if column in frames[name] and column != "kind":
                there: Any = frames[name][column].to_numpy()
                assert np.array_equal(there, values, equal_nan=there.dtype.kind == "f")
    assert len(frames["signatures"]) == tables["signatures"].num_rows == len(trace.signatures)


@pytest.mark.parametrize(("method", "package"), [("to_pandas", "pandas"), ("to_arrow", "pyarrow")])
def test_a_package_that_is_missing_is_named_with_what_to_do(method: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None  # as Python marks what cannot be imported
{ASK.format(method=method)}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"Trace.{method}() needs {package}: pip install {package}\n"


def test_a_package_that_does_not_fit_this_numpy_says_so_itself(tmp_path: Path) -> None:
    tmp_path.joinpath("pyarrow.py").write_text("raise ImportError('needs NumPy 2.0 or newer')")
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{ASK.format(method='to_arrow')}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Trace.to_arrow() cannot import pyarrow: needs NumPy 2.0 or newer\n"
