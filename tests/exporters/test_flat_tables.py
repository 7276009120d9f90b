"""CSV, Parquet and Arrow files of ops and samples, read by pandas, DuckDB and pyarrow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from pyarrow import feather, parquet

from tests.builders import START_NS, TraceBuilder, random_trace, signature_of, trace_of, traces
from tests.exporters.written import MS, content, pieces, two_threads
from tinytrace.analysis.counting import Figure, count_trace
from tinytrace.errors import UsageError
from tinytrace.exporters import export
from tinytrace.exporters.registry import check_suffix, exporter
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

ENDINGS = (".csv", ".parquet", ".arrow")
A_STEP = trace_of("step:10(mean:5@a.py:1:f(add[4,4->4]:2@a.py:2:g) exp[3:f4->3:f4]:1 sort!:1)")


def rows_of(trace: Trace, folder: Path, ending: str, what: str = "") -> list[dict[str, Any]]:
    """The rows of a file as DuckDB (CSV, Parquet) or pyarrow (Arrow) reads them."""
    target = folder / f"table{what}{ending}"
    export(trace, target)
    if ending == ".arrow":
        rows: list[dict[str, Any]] = feather.read_table(target).to_pylist()
        return rows
    reader = (
        "read_csv(?, nullstr='', allow_quoted_nulls=false)"
        if ending == ".csv"
        else "read_parquet(?)"
    )
    with duckdb.connect() as database:
        result = database.execute(f"select * from {reader}", [str(target)])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_op_has_its_times_work_place_and_thread(ending: str, tmp_path: Path) -> None:
    mean, add, exp, sort = rows_of(A_STEP, tmp_path, ending)
    assert add == {
        "op": "add", "start_ns": 0, "dur_ns": 2000, "self_ns": 2000, "calls": 1, "flops": 4,
        "bytes": 96, "transcendentals": 0, "shapes": "[[4],[4],[4]]",
        "dtypes": '["float64","float64","float64"]', "n_inputs": 2, "attributes": "",
        "file": "a.py", "line": 2, "function": "g", "step": 0, "pid": 100, "process": "python",
        "tid": 100, "thread": "MainThread", "ops_inside": False, "raised": False, "open": False,
        "detached": False, "args": None,
    }  # fmt: skip
    assert (mean["dur_ns"], mean["self_ns"], mean["ops_inside"]) == (5000, 3000, True)
    assert (mean["flops"], mean["bytes"], mean["shapes"]) == (None, None, None)
    assert (exp["flops"], exp["transcendentals"], exp["start_ns"]) == (0, 3, 5000)
    assert (sort["flops"], sort["raised"]) == (None, True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_sample_has_its_time_weight_and_stack(ending: str, tmp_path: Path) -> None:
    first, _, _, last = rows_of(two_threads(), tmp_path, ending, ".samples")
    assert first == {
        "t_ns": MS, "weight_ns": MS, "cpu_ns": None, "file": "/home/me/train.py", "line": 42,
        "function": "forward", "stack": "<module> (train.py:90);forward (train.py:42)", "pid": 10,
        "process": "python", "tid": 10, "thread": "main",
    }  # fmt: skip
    assert (last["function"], last["stack"], last["weight_ns"]) == (None, None, 4 * MS)


@pytest.mark.parametrize("ending", ENDINGS)
def test_ops_that_were_added_up_are_one_row_with_their_calls(ending: str, tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    add = builder.signature(signature_of("add", "4,4->4"))
    builder.aggregates.append((
        builder.string("add"), Kind.OP, thread, add, -1, 1000, 990, 5000, 4000, 1, 9, START_NS,
        START_NS + 10**6,
    ))  # fmt: skip
    (row,) = rows_of(builder.build(), tmp_path, ending)
    assert (row["calls"], row["dur_ns"], row["self_ns"], row["flops"], row["bytes"]) == (
        1000, 5000, 4000, 990 * 4, 990 * 96,
    )  # fmt: skip
    assert (row["step"], row["detached"]) == (None, None)


def test_what_is_not_known_of_an_op_is_null_and_not_0(tmp_path: Path) -> None:
    raised, outer, inner = rows_of(
        trace_of("exp![3->3]:1 exp[3->3]:5(add[3,3->3]:2)"), tmp_path, ".parquet"
    )
    for row in (raised, outer):
        assert (row["flops"], row["bytes"], row["transcendentals"]) == (None, None, None)
    assert (inner["flops"], inner["transcendentals"]) == (3, 0)


def test_ops_that_were_added_up_and_had_ops_inside_leave_the_figures_to_these(
    tmp_path: Path,
) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    add = builder.signature(signature_of("add", "4,4->4"))
    builder.aggregates.append((
        builder.string("add"), Kind.OP, thread, add, -1, 1000, 0, 5000, 4000, 1, 9, START_NS,
        START_NS + 10**6,
    ))  # fmt: skip
    (row,) = rows_of(builder.build(), tmp_path, ".parquet")
    assert (row["ops_inside"], row["flops"], row["bytes"]) == (True, None, None)


@pytest.mark.parametrize("ending", ENDINGS)
@given(trace=traces())
def test_sums_over_the_file_are_those_of_the_trace(
    ending: str, trace: Trace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of(trace, tmp_path_factory.mktemp("sums"), ending)
    is_op, folded = trace.spans.kind == Kind.OP, trace.aggregates
    assert sum(row["calls"] for row in rows) == is_op.sum() + folded.count.sum()
    durations_ns = trace.spans.dur_ns[is_op].sum() + folded.total_ns.sum()
    assert sum(row["dur_ns"] for row in rows) == durations_ns
    figures: tuple[Figure, ...] = ("flops", "bytes")
    for figure in figures:
        total = sum(row[figure] or 0 for row in rows)
        too_large = any((work or 0) >= 2**63 for work in count_trace(trace).per_aggregate(figure))
        assert total == count_trace(trace).total(figure) or too_large


@pytest.mark.parametrize("what", ["", ".samples"])
@pytest.mark.parametrize("seed", range(5))
def test_all_three_hold_the_same(what: str, seed: int, tmp_path: Path) -> None:
    trace = random_trace(seed, 60)
    csv, columns, arrow = (rows_of(trace, tmp_path, ending, what) for ending in ENDINGS)
    assert columns == arrow
    # Of U+0000 readers of CSV make the end of a text.
    texts = [{k: _without_nul(v) for k, v in row.items()} for row in columns]
    assert [{k: str(v) for k, v in row.items()} for row in csv] == [
        {k: str(v) for k, v in row.items()} for row in texts
    ]


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def test_pandas_reads_them(tmp_path: Path) -> None:
    for ending in ENDINGS:
        export(A_STEP, tmp_path / f"ops{ending}")
    frames = [
        pd.read_csv(tmp_path / "ops.csv"),
        pd.read_parquet(tmp_path / "ops.parquet"),
        pd.read_feather(tmp_path / "ops.arrow"),
    ]
    for frame in frames:
        assert frame.groupby("op", observed=True)["flops"].sum().to_dict() == {
            "mean": 0, "add": 4, "exp": 0, "sort": 0,
        }  # fmt: skip


def test_names_are_words_of_which_only_those_that_occur_are_in_the_file(tmp_path: Path) -> None:
    export(A_STEP, tmp_path / "ops.arrow")
    column = feather.read_table(tmp_path / "ops.arrow").column("op")
    assert pa.types.is_dictionary(column.type)
    assert column.chunk(0).dictionary.to_pylist() == ["mean", "add", "exp", "sort"]


def test_an_empty_trace_has_the_columns(tmp_path: Path) -> None:
    export(Trace(), tmp_path / "ops.parquet")
    table = parquet.read_table(tmp_path / "ops.parquet")
    assert (table.num_rows, table.column_names[0]) == (0, "op")
    assert table.schema.field("flops").type == pa.int64()
    assert content(exporter("csv"), Trace()).decode().startswith("op,start_ns,")
    assert feather.read_table(pa.BufferReader(content(exporter("arrow"), Trace()))).num_rows == 0


def test_a_long_trace_is_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("csv_tables", "arrow_tables"):
        monkeypatch.setattr(f"tinytrace.exporters.{module}.ROWS_PER_CHUNK", 10)
    assert len(pieces(exporter("csv"), random_trace(1, 200))) > 5
    table = feather.read_table(pa.BufferReader(content(exporter("arrow"), random_trace(1, 200))))
    assert table.column("op").num_chunks > 5


def test_without_pyarrow_it_is_one_line_before_the_program_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"ops\.arrow: this format needs pyarrow: pip install"):
        check_suffix("ops.arrow")
    check_suffix("ops.csv")
    with pytest.raises(UsageError, match="needs pyarrow"):
        export(A_STEP, tmp_path / "ops.parquet")
    assert list(tmp_path.iterdir()) == []
