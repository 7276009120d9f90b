"""Perfetto's engine as WebAssembly: what it answers, refuses, and how it is ended."""

from __future__ import annotations

import io
import signal
import threading
import time

import pytest

from tests.builders import trace_of
from tinytrace.analysis.wasm_engine import WasmEngine
from tinytrace.errors import EngineError, QueryError, TraceFormatError
from tinytrace.exporters.chrome import pieces

ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"


@pytest.fixture
def engine() -> WasmEngine:
    """With a trace of two ops in a step."""
    engine = WasmEngine()
    engine.load(io.BytesIO(b"".join(pieces(trace_of("step(add:3 exp:4)")))))
    return engine


def test_values_come_as_they_are(engine: WasmEngine) -> None:
    answer = engine.ask(
        "select 1 as i, -5 as n, 0.5 as f, 'größe' as s, x'00ff' as b, null as z, 9e999 as inf"
    )
    assert answer.columns == ("i", "n", "f", "s", "b", "z", "inf")
    assert answer.rows == [(1, -5, 0.5, "größe", b"\x00\xff", None, float("inf"))]
    assert [type(value) for value in answer.rows[0][:4]] == [int, int, float, str]


def test_rows_come_in_order_and_all_of_them(engine: WasmEngine) -> None:
    many = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 30000)"
    answer = engine.ask(f"{many} select x, 'number ' || x as s, iif(x % 2, x, null) as odd from n")
    assert answer.rows == [(x, f"number {x}", x if x % 2 else None) for x in range(1, 30001)]


def test_the_last_of_several_statements_answers(engine: WasmEngine) -> None:
    answer = engine.ask(
        "create view short as select name from slice where dur < 4000; select * from short"
    )
    assert answer.dicts() == [{"name": "add"}]
    assert engine.ask("select count(*) as n from short").rows == [(1,)]


def test_a_statement_without_rows_has_columns_all_the_same(engine: WasmEngine) -> None:
    assert engine.ask("select name from slice where 0").columns == ("name",)
    assert engine.ask("select name from slice where 0").rows == []
    assert engine.ask("create view one as select 1").rows == []


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select nme from slice", "no such column: nme (line 1, column 8)"),
        ("select\n  1 frm slice", "syntax error (line 2, column 9)"),
        ("selekt", "syntax error (line 1, column 1)"),
    ],
)
def test_a_refused_statement_says_why_and_where_in_one_line(
    engine: WasmEngine, sql: str, says: str
) -> None:
    with pytest.raises(QueryError) as refused:
        engine.ask(sql)
    assert str(refused.value) == says
    assert engine.ask("select count(*) as n from slice").rows == [(3,)]  # and lives


def test_columns_of_the_same_name_make_no_dictionary(engine: WasmEngine) -> None:
    answer = engine.ask("select 1 as a, 2 as a, 3 as b")
    assert answer.rows == [(1, 2, 3)]
    with pytest.raises(QueryError, match=r"^2 columns are called a: name them with AS$"):
        answer.dicts()


def test_what_is_no_trace_is_refused() -> None:
    with pytest.raises(TraceFormatError, match=r"^Perfetto cannot read it: Unknown trace type"):
        WasmEngine().load(io.BytesIO(b"hello"))


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(EngineError, match=r"is not done after 0\.2 s"):
        WasmEngine(limit_s=0.2).ask(ENDLESS)
    assert not any(t.name == "Perfetto's engine" and t.is_alive() for t in threading.enumerate())


def test_an_interrupt_ends_a_statement_that_never_would(engine: WasmEngine) -> None:
    def interrupt() -> None:
        while not any(t.name == "Perfetto's engine" for t in threading.enumerate()):
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        engine.ask(ENDLESS)
    thread.join()
    assert not any(t.name == "Perfetto's engine" and t.is_alive() for t in threading.enumerate())
