"""`tinytrace.query`: a trace asked in SQL from Python."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tinytrace as tt
from tests.builders import trace_of
from tinytrace import querying
from tinytrace.analysis import median_step, perfetto_ui, sql_answer
from tinytrace.errors import InputError, QueryError
from tinytrace.exporters import perfetto_link

DOCUMENT = Path(__file__).parents[1] / "docs" / "query.md"
OPS = "select name, dur from slice where category = 'op' order by dur"
TRACE = trace_of("step(add:3 exp:4)")


@pytest.fixture(autouse=True)
def no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program of Perfetto's is in the home of this user."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_trace_and_its_file_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"name": "add", "dur": 3000}, {"name": "exp", "dur": 4000}]
    assert tt.query(TRACE, OPS) == rows
    for path in (tmp_path / "trace.json", tmp_path / "trace.json.gz"):
        tt.export(TRACE, path)
        assert tt.query(path, OPS) == rows
        assert tt.query(str(path), OPS) == rows


def test_pandas_gets_a_frame_with_the_types_of_the_columns() -> None:
    frame = tt.query(TRACE, OPS, pandas=True)
    assert frame.to_dict("list") == {"name": ["add", "exp"], "dur": [3000, 4000]}
    assert frame["dur"].dtype == "int64"
    assert list(tt.query(TRACE, f"{OPS} limit 0", pandas=True).columns) == ["name", "dur"]


def test_what_goes_wrong_is_one_of_our_errors(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no such column: nme"):
        tt.query(TRACE, "select nme from slice")
    with pytest.raises(QueryError, match="2 columns are called a"):
        tt.query(TRACE, "select 1 as a, 2 as a", pandas=True)
    with pytest.raises(InputError, match="cannot be read"):
        tt.query(tmp_path / "nothing.json", "select 1")


@pytest.mark.parametrize(
    "module",
    [querying, perfetto_link, median_step, perfetto_ui, sql_answer],
    ids=lambda m: m.__name__,
)
def test_the_examples_run(module: ModuleType) -> None:
    failed, run = doctest.testmod(module)
    assert (failed, run > 0) == (0, True)


def test_the_questions_in_the_manual_have_answers(tmp_path: Path) -> None:
    x = np.ones((200, 200))
    with tt.trace(tmp_path / "trace.json"):
        for _ in range(3):
            with tt.step():
                for _ in range(20):
                    x = np.tanh(x @ x)
    statements = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    answers = [tt.query(tmp_path / "trace.json", sql) for sql in statements]
    assert len(answers) == 5
    ops, lines, steps, counter, _samples = answers
    assert {row["name"]: row["calls"] for row in ops} == {"matmul": 60, "tanh": 60}
    assert all(row["gb_per_s"] > 0 for row in ops)
    assert {row["line"].split()[0].partition(":")[0] for row in lines} == {"test_querying.py"}
    assert sorted(row["step"] for row in steps) == [0, 1, 2]
    assert len(counter) >= 1
