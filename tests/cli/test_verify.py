"""``verify``: never a gain without its interval, and traces with nothing to rewrite."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import trace_of
from tests.cli.commands import Done, run_commands
from tinytrace.analysis.in_turns import Outcome, Verdict, verdict_of
from tinytrace.analysis.op_groups import group_ops
from tinytrace.analysis.paired import Interval
from tinytrace.analysis.rewrites import REWRITES
from tinytrace.analysis.verify import Verification, Verified
from tinytrace.cli.verify import EXAMPLES
from tinytrace.cli.verify_text import print_verification
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace

[GROUP] = group_ops(trace_of("power:400@a.py:3:f power:400@a.py:3:f"))


def row(outcome: Outcome | None, reason: str | None = None) -> Verified:
    return Verified(
        "products", "multiply instead of raising to a power", "the last digit may differ", "x ** 3", "x * x * x",
        "float64 1000, Python int", GROUP, outcome, reason,
    )  # fmt: skip


def measured(low: float, high: float, difference: float | None = 1e-16) -> Outcome:
    ratio = Interval((low + high) / 2, low, high)
    return Outcome(verdict_of(ratio, 0.03), ratio, 0.03, 300_000, 100_000, 25, difference, False)


def text_of(*rows: Verified, same_machine: bool | None = True) -> str:
    file = io.StringIO()
    print_verification(Verification(rows, 9, 1, "made by hand", same_machine, 0.95), file)
    return file.getvalue()


def test_a_gain_is_told_with_its_interval() -> None:
    text = text_of(row(measured(2.0, 4.0)))
    assert "faster: 3.00 times as fast (2.00 to 4.00), 300 us -> 100 us per call, 25 rounds" in text
    # Two calls of 300 µs here, of 400 µs in the trace; half to three quarters of the former.
    assert "over all these calls about 400 us less (300 us to 450 us)" in text
    assert "condition: the last digit may differ" in text
    assert "results: alike, apart by at most 1.0e-16 of the largest" in text
    assert "2 calls, 800 us (100.0 % of wall), 400 us each, a.py:3 f" in text


def test_calls_that_were_much_slower_in_the_trace_are_said_to_have_been() -> None:
    note = "what made the calls slow there"
    assert note not in text_of(row(measured(2, 4)))
    quick = replace(measured(2, 4), before_ns=100_000)
    text = text_of(row(quick))
    assert "400 us each, 4.0 times as long as here, a.py:3 f" in text
    assert note in text
    # Two calls of 100 µs: half to three quarters of these, and not of the 800 µs in the trace.
    assert "(100 us to 150 us)" in text


@pytest.mark.parametrize(("low", "high"), [(1.01, 2.0), (0.9, 1.1), (0.4, 0.5), (0.99, 1.01)])
def test_nothing_is_promised_where_no_gain_was_shown(low: float, high: float) -> None:
    text = text_of(row(measured(low, high)))
    assert "faster:" not in text
    assert "less" not in text.replace("less or more", "")
    assert f"({low:.2f} to {high:.2f})" in text


def test_other_results_are_said_loudly() -> None:
    assert "RESULTS DIFFER: apart by up to 2.5e-01" in text_of(row(measured(2, 4, 0.25)))
    assert "RESULTS DIFFER: another shape" in text_of(row(measured(2, 4, None)))
    assert "RESULTS DIFFER: in a nan, or beyond" in text_of(row(measured(2, 4, float("inf"))))


def test_what_was_not_measured_says_why() -> None:
    assert "not measured: it is no ufunc" in text_of(row(None, "it is no ufunc"))


def test_a_trace_from_elsewhere_is_told_from_one_from_here() -> None:
    warning = "recorded on another machine"
    assert warning in text_of(row(measured(2, 4)), same_machine=False)
    assert warning not in text_of(row(measured(2, 4)))


def test_the_help_names_every_rewrite() -> None:
    named = re.search(r"rewrites: (.*) \(", EXAMPLES)
    assert named
    assert named[1].split(", ") == list(REWRITES)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("verify")
    export(trace_of("power[1000,.:i8->1000]:9 add[40,40->40]:9"), folder / "trace.json")
    export(Trace(meta={"format_version": 1}), folder / "empty.json")
    (Path(folder) / "foreign.json").write_text(
        '[{"ph":"X","name":"aten::mm","ts":1,"dur":5,"pid":1}]'
    )
    lines = ["trace.json out --top 1", "empty.json", "foreign.json", "trace.json faster", "no.json"]
    answers = run_commands([["verify", *line.split()] for line in lines], folder)
    return dict(zip(lines, answers, strict=True))


def test_a_rewrite_is_measured_from_the_command_line(done: dict[str, Done]) -> None:
    answer = done["trace.json out --top 1"]
    assert (answer.code, answer.err) == (0, "")
    words = "|".join(verdict.value for verdict in Verdict)
    assert re.search(rf"({words}): \d+\.\d+ times as fast \(\d+\.\d+ to \d+\.\d+\)", answer.out)
    assert "(1 of " in answer.out


@pytest.mark.parametrize("name", ["empty.json", "foreign.json"])
def test_where_there_is_nothing_to_rewrite_it_is_said(done: dict[str, Done], name: str) -> None:
    assert done[name].code == 0
    assert done[name].out == "No op with a mechanical rewrite takes 0.1 % of the time of all ops.\n"


def test_a_name_that_is_none_is_one_line(done: dict[str, Done]) -> None:
    assert done["trace.json faster"].code == 2
    assert done["trace.json faster"].line.startswith("'faster' is no rewrite: there are out, ")
    assert done["no.json"].code == 3
