"""``verify``: never a gain without its interval, and traces with nothing to rewrite."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import signature_of, trace_of
from tests.cli.commands import Done, run_commands
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis.comparison import Speedup, Verdict, verdict_of
from tinytrace.analysis.in_turns import MARGIN, Outcome
from tinytrace.analysis.op_groups import group_ops
from tinytrace.analysis.paired import Interval
from tinytrace.analysis.rewrites import REWRITES
from tinytrace.analysis.verify import Verification, Verified
from tinytrace.cli.verify import EXAMPLES
from tinytrace.cli.verify_text import print_verification
from tinytrace.exporters import export
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Trace

[GROUP] = group_ops(trace_of("power:400@a.py:3:f power:400@a.py:3:f"))


def row(outcome: Outcome | None, reason: str | None = None) -> Verified:
    return Verified(
        "products", "multiply instead of raising to a power", "the last digit may differ", "x ** 3", "x * x * x",
        "float64 1000, Python int", GROUP, outcome, reason,
    )  # fmt: skip


def measured(low: float, high: float, difference: float | None = 1e-16) -> Outcome:
    ratio = Interval((low + high) / 2, low, high)
    verdict = verdict_of(ratio, MARGIN, MARGIN, ratio)
    told = Speedup(ratio, verdict, MARGIN, 0.0, 1.0, 0.01, 25, None, None)
    return Outcome(told, 300_000, 100_000, difference, False)


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


def found_in() -> Trace:
    """A trace with two findings: copies, which take most time, and powers."""
    copying = signature_of("array", "512x512:f4->512x512:f4")
    power = replace(signature_of("power", "2000,.:i8->2000"), attributes="exponent=3")
    scalar = replace(power.operands[1], dtype="int", layout=Layout.PYTHON_SCALAR)
    power = replace(power, operands=(power.operands[0], scalar, power.operands[2]))
    text = "array:300@t.py:8:init " * 10 + "power:100@t.py:9:gelu add[50,50->50]:50@t.py:9:gelu"
    return trace_of(text, signatures={"array": copying, "power": power})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("verify")
    export(trace_of("power[1000,.:i8->1000]:9 add[40,40->40]:9"), folder / "trace.json")
    export(Trace(meta={"format_version": 1}), folder / "empty.json")
    export(with_peaks(found_in()), folder / "found.json")
    (Path(folder) / "foreign.json").write_text(
        '[{"ph":"X","name":"aten::mm","ts":1,"dur":5,"pid":1}]'
    )
    lines = ["trace.json out --top 1", "empty.json", "foreign.json", "trace.json faster", "no.json"]
    lines += ["found.json --top 1", "found.json f2", "found.json F1", "found.json F4"]
    argvs = [["verify", *line.split()] for line in lines]
    for rule in ("pow instead of products", "thin product"):
        lines.append(f"found.json {rule}")
        argvs.append(["verify", "found.json", rule])
    return dict(zip(lines, run_commands(argvs, folder), strict=True))


def test_a_rewrite_is_measured_from_the_command_line(done: dict[str, Done]) -> None:
    answer = done["trace.json out --top 1"]
    assert (answer.code, answer.err) == (0, "")
    words = "|".join(verdict.value for verdict in Verdict)
    assert re.search(rf"({words}): \d+\.\d+ times as fast \(\d+\.\d+ to \d+\.\d+\)", answer.out)
    assert "(1 of " in answer.out


@pytest.mark.parametrize("name", ["empty.json", "foreign.json"])
def test_where_there_is_nothing_to_rewrite_it_is_said(done: dict[str, Done], name: str) -> None:
    assert done[name].code == 0
    assert done[name].out.splitlines() == [
        "Findings: nothing is wrong that a rule knows.",
        "",
        "No op with a mechanical rewrite takes 0.1 % of the time of all ops.",
    ]


def test_a_finding_is_verified_by_its_id_or_its_rule(done: dict[str, Done]) -> None:
    for given in ("found.json f2", "found.json pow instead of products"):
        answer = done[given]
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("F2. t.py:9 gelu: x ** 3 is computed by pow")
        assert "rewrites that can be timed: products, products_signed" in answer.out
        assert "x ** 3  ->  x * x * x" in answer.out
        assert "(2 of 2)" in answer.out  # and not the addition, which the finding is not about


def test_a_finding_without_a_rewrite_says_why_in_one_line(done: dict[str, Done]) -> None:
    answer = done["found.json F1"]
    assert (answer.code, answer.err) == (0, "")
    headline, why = answer.out.splitlines()
    assert headline.startswith("F1. t.py:8 init: np.array in init copies arrays")
    assert why.strip() == ("not timed: without the copy nothing is left to time: all of it is won")


def test_a_rule_that_found_nothing_is_answered(done: dict[str, Done]) -> None:
    answer = done["found.json thin product"]
    assert (answer.code, answer.out) == (
        0,
        "No finding of this trace is by the rule thin product.\n",
    )


def test_without_a_name_it_is_listed_what_can_be_verified(done: dict[str, Done]) -> None:
    lines = done["found.json --top 1"].out.splitlines()
    assert lines[0] == "Findings with rewrites that can be timed: 1 of 2"
    assert [line[:2] for line in lines[1:5]] == ["F1", "  ", "F2", "  "]
    assert lines[5] == "One of them alone: python -m tinytrace verify found.json F2"
    assert any(line.startswith("Rewrites, those of the ops with most time") for line in lines)


def test_a_name_that_is_none_is_one_line(done: dict[str, Done]) -> None:
    assert done["trace.json faster"].code == 2
    assert done["trace.json faster"].line.startswith(
        "'faster' is no finding of this trace (there are none), no rule and no rewrite: there are out, "
    )
    assert done["found.json F4"].code == 2
    assert done["found.json F4"].line.startswith("'F4' is no finding of this trace (F1 to F2)")
    assert done["no.json"].code == 3
