"""The regression gate: the exact part to the byte, the timed part only where something was shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.builders import START_NS, TraceBuilder, signature_of
from tinytrace.analysis.gate import Result, gate
from tinytrace.cli import main
from tinytrace.cli.check import allowance
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

X = np.ones((32, 32))


def recorded(copies: int = 0, steps: int = 3) -> Trace:
    with tt.trace(sampler="none") as recording:
        for _ in range(steps):
            with tt.step():
                y = X @ X
                for _ in range(copies):
                    y = y.copy()
    assert recording.result is not None
    return recording.result


def results(before: Trace, after: Trace, **options: object) -> dict[str, Result]:
    return {row.figure: row.result for row in gate(before, after, **options).exact}  # type: ignore[arg-type]


def test_the_same_work_is_ok() -> None:
    found = gate(recorded(), recorded())
    assert found.outcome == "ok"
    assert found.reasons == ()
    assert {row.result for row in found.exact} == {Result.SAME}


def test_one_copy_more_is_a_regression_and_is_named_with_its_line() -> None:
    found = gate(recorded(0), recorded(1))
    assert found.outcome == "regression"
    by_figure = {row.figure: row for row in found.exact}
    assert by_figure["flops"].result is Result.SAME
    assert (by_figure["op_calls"].before, by_figure["op_calls"].after) == (3, 6)
    assert by_figure["bytes"].after - by_figure["bytes"].before == 3 * 2 * 32 * 32 * 8  # type: ignore[operator]
    assert any(r.startswith("copy at test_gate.py:") and "0 -> 3 calls" in r for r in found.reasons)


def test_less_work_is_ok() -> None:
    found = gate(recorded(2), recorded(1))
    assert found.outcome == "ok"
    assert {row.figure: row.result for row in found.exact}["bytes"] is Result.LESS


def test_runs_of_different_length_are_compared_per_step() -> None:
    assert gate(recorded(steps=2), recorded(steps=9)).outcome == "ok"
    assert gate(recorded(steps=9), recorded(1, steps=2)).outcome == "regression"


def test_an_increase_that_is_allowed_is_no_regression() -> None:
    allowed = {"op_calls": 1.0, "bytes": 10.0, "allocations": 10.0}
    found = gate(recorded(0), recorded(1), allowed=allowed)  # type: ignore[arg-type]
    assert found.outcome == "ok"
    assert results(recorded(0), recorded(1), allowed=allowed)["op_calls"] is Result.ALLOWED
    assert results(recorded(0), recorded(2), allowed=allowed)["op_calls"] is Result.MORE


def test_a_run_without_operations_is_inconclusive_and_not_an_improvement() -> None:
    found = gate(recorded(), Trace())
    assert found.outcome == "inconclusive"
    assert {row.result for row in found.exact} == {Result.NOT_KNOWN}


def test_times_decide_only_when_they_are_asked_to() -> None:
    assert gate(recorded(), recorded()).outcome == "ok"
    found = gate(recorded(), recorded(), timed=True)  # three steps show nothing
    assert found.outcome == "inconclusive"
    assert "nothing was shown about the time of a step" in found.reasons[0]


def timed(factor: int) -> Trace:
    """Forty steps of some milliseconds, with one operation in each."""
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    for step in range(40):
        begin = START_NS + step * 10_000_000
        took = factor * (1_000_000 + step % 7 * 1000)
        outer = builder.span(0, begin, took, "step", kind=Kind.STEP, step=step)
        add = signature_of("add", "8,8->8")
        builder.span(0, begin, took - 10, "add", parent=outer, step=step, signature=add)
    return builder.build()


def test_steps_that_take_twice_as_long_are_a_regression_when_times_decide() -> None:
    found = gate(timed(1), timed(2), timed=True)
    assert found.outcome == "regression"
    assert (found.timed[0].what, found.timed[0].result) == ("step", Result.SLOWER)
    assert found.reasons[0].startswith("step: x2 [")
    assert gate(timed(1), timed(2)).outcome == "ok"
    assert gate(timed(2), timed(1), timed=True).outcome == "ok"


@pytest.mark.parametrize("case", [(0, 0, "ok"), (1, 1, "regression"), (None, 2, "inconclusive")])
def test_the_exit_code_is_the_outcome(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int | None, int, str],
) -> None:
    copies, code, outcome = case
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    base, run, summary = (tmp_path / name for name in ("base.json", "run.json", "summary.md"))
    tt.export(recorded(), base)
    tt.export(Trace() if copies is None else recorded(copies), run)
    command = ["check", "--baseline", str(base), str(run)]
    assert main(command) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"Outcome: {outcome}"
    assert main([*command, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["outcome"] == outcome
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main(command) == code
    text = summary.read_text()
    assert text.startswith(f"before\n### tinytrace: {outcome}\n")
    assert text.count("\n| ") == 1 + 5
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "x"))
    assert main(command) == 5


def test_what_makes_no_sense_is_one_line_and_another_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base.json"
    tt.export(recorded(), base)
    assert main(["check", str(base)]) == 2
    assert main(["check", "--baseline", str(tmp_path / "none"), str(base)]) == 3
    assert main(["check", "--baseline", str(base), str(base), "--allow", "speed=3"]) == 2
    assert allowance("flops=0") == ("flops", 0.0)
