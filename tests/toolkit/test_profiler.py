"""`Profiler` and `profile`."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tinytrace.errors import UsageError
from tinytrace.toolkit.profiler import Profiler, profile
from tinytrace.tracer.records import Kind

X = np.ones((60, 60))


def names(trace: tt.Trace) -> list[str]:
    return [trace.strings[i] for i in trace.spans.name_id]


def trace_of(function: Any) -> tt.Trace:
    """What `profile` recorded of it."""
    found: tt.Trace = function.profile.trace
    return found


def test_a_block_is_recorded_and_told_in_human_words() -> None:
    profiler = Profiler(sampler="none")
    profiler.start()
    for _ in range(20):
        X @ X
    profiler.stop()
    text = io.StringIO()
    profiler.print_top_operations(n=1, file=text)
    share, words = text.getvalue().splitlines()[0].split(" - ")
    assert words == "Matrix multiplication"
    assert share == "<1%" or 0 < int(share.removesuffix("%")) <= 100
    assert "Profiler" not in names(profiler.trace)
    assert profiler.top_operations(by="op")[0].calls == 20
    assert profiler.top_operations(by="callsite")[0].label.startswith("test_profiler.py")  # type: ignore[union-attr]


def test_what_is_beyond_n_is_in_one_line_so_that_nothing_is_missing() -> None:
    with Profiler(sampler="none") as profiler:
        X @ X
        np.exp(X)
        np.sin(X)
    text = io.StringIO()
    profiler.print_top_operations(n=1, file=text)
    lines = text.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("% - 2 more")


def test_without_operations_it_says_so() -> None:
    with Profiler(sampler="none") as profiler:
        pass
    text = io.StringIO()
    profiler.print_top_operations(file=text)
    assert text.getvalue().splitlines()[0] == "No operation of NumPy was recorded."


def test_before_it_has_stopped_there_is_no_trace() -> None:
    profiler = Profiler(sampler="none")
    with pytest.raises(UsageError, match="no trace"), profiler:
        profiler.print_top_operations()
    assert len(profiler.report().ops) == 0


def test_inside_a_recording_it_is_a_span_of_that_one() -> None:
    profiler = Profiler()
    with tt.trace(sampler="none") as outer, profiler:
        X @ X
    assert outer.result is not None
    assert names(outer.result) == ["Profiler", "matmul"]
    with pytest.raises(UsageError, match="outer recording"):
        _ = profiler.trace


def test_what_was_recorded_is_saved(tmp_path: Path) -> None:
    with Profiler(sampler="none") as profiler:
        X @ X
    profiler.save(tmp_path / "t.json")
    assert tt.load(tmp_path / "t.json") == profiler.trace


def test_the_first_call_is_recorded_and_later_ones_are_not() -> None:
    @profile(quiet=True, sampler="none")
    def work(x: np.ndarray) -> np.ndarray:
        """It works."""
        return np.asarray(x @ x)

    assert work(X)[0, 0] == 60
    first = trace_of(work)
    work(X)
    assert trace_of(work) is first
    assert names(first) == ["step", "matmul"]
    assert (work.__name__, work.__doc__) == ("work", "It works.")


def test_several_calls_are_steps_of_one_recording() -> None:
    @profile(calls=3, quiet=True, sampler="none")
    def work() -> None:
        X @ X

    for _ in range(5):
        work()
    spans = trace_of(work).spans
    assert spans.step[spans.kind == Kind.OP].tolist() == [0, 1, 2]


def test_methods_generators_and_coroutines_are_recorded_to_their_ends() -> None:
    class Model:
        @profile(quiet=True, sampler="none")
        def forward(self) -> float:
            return float((X @ X).sum())

        @staticmethod
        @profile(quiet=True, sampler="none")
        def static() -> None:
            X @ X

    assert Model().forward() == 60 * 60 * 60
    assert "matmul" in names(trace_of(Model.forward))
    Model.static()
    assert "matmul" in names(trace_of(Model.static))

    @profile(quiet=True, sampler="none")
    def batches() -> Iterator[int]:
        for n in range(2):
            X @ X
            yield n

    assert list(batches()) == [0, 1]
    assert names(trace_of(batches)).count("matmul") == 2

    @profile(quiet=True, sampler="none")
    async def fetch() -> None:
        X @ X
        await asyncio.sleep(0)
        X @ X

    asyncio.run(fetch())
    assert names(trace_of(fetch)).count("matmul") == 2


def test_an_exception_travels_on_and_what_ran_is_kept() -> None:
    @profile(quiet=True, sampler="none")
    def work() -> None:
        X @ X
        raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert "matmul" in names(trace_of(work))


def test_inside_a_recording_every_call_is_a_span_of_that_one() -> None:
    @profile
    def work() -> None:
        X @ X

    with tt.trace(sampler="none") as outer:
        work()
        work()
    assert outer.result is not None
    assert [name.rpartition(".")[2] for name in names(outer.result)] == ["work", "matmul"] * 2


def test_options_that_make_no_sense_are_refused_when_it_decorates() -> None:
    with pytest.raises(UsageError, match="at least one call"):
        profile(calls=0)
    with pytest.raises(TypeError, match="functions can be decorated"):
        profile(3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="rate"):
        profile(rate=3)(len)


def test_the_program_is_told_on_stderr_and_all_calls_when_it_ends(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import numpy as np, tinytrace as tt\n"
        "@tt.profile(calls=None, output='out.json')\n"
        "def work():\n    return np.ones((50, 50)) @ np.ones((50, 50))\n"
        "for _ in range(4): work()\n"
        "print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(tt.__file__).parents[1]), "PATH": ""},
    )  # fmt: skip
    assert done.stdout == "done\n"
    assert "matmul" in done.stderr
    recorded = tt.load(tmp_path / "out.json")
    assert names(recorded).count("matmul") == 4


def test_where_the_summary_cannot_be_printed_the_call_has_its_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @profile(sampler="none")
    def work() -> float:
        return float((X @ X)[0, 0])

    closed = (tmp_path / "stderr").open("w")
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    assert work() == 60
