"""``diff`` as a user sees it: its text, its JSON, what goes wrong, and a real program before and after a fix."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import START_NS, TraceBuilder, random_trace, signature_of, trace_of
from tests.cli.commands import run_commands
from tests.cli.terminal import printed_on_terminal
from tests.cli.test_render import plain_environment, without_colours
from tinytrace.analysis.diff import diff
from tinytrace.cli.diff_text import print_diff
from tinytrace.cli.layout import cells
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace

__all__ = ["plain_environment"]  # a fixture that every test here uses
NAMES = (Path("before.json"), Path("after.json"))


def run(*, fixed: bool) -> Trace:
    """A small training run: twelve passes, on float64 with a power, or (two lines lower) on float32 without."""
    builder = TraceBuilder()
    builder.process(4711, "train.py", START_NS)
    thread = builder.thread(0, 4711)
    dtype, down = ("f4", 2) if fixed else ("f8", 0)
    product = signature_of("matmul", f"64x784:{dtype},784x512:{dtype}->64x512:{dtype}")
    vector, row = f"512:{dtype},512:{dtype}->512:{dtype}", signature_of("add", "8,8->8")
    forward, update, data = (
        builder.frame(function, "/home/me/train.py", line)
        for function, line in (("forward", 42 + down), ("update", 60 + down), ("batch", 10))
    )
    now_ns = START_NS + 50_000_000
    for number in range(12):
        ops = [("matmul", product, forward, 1_500_000 if fixed else 3_000_000)]
        ops += [("add", row, data, 20_000 + 1000 * (number % 3))]
        if fixed:
            ops += [("multiply", signature_of("multiply", vector), update, 2000)] * 2
        else:
            ops += [("power", signature_of("power", "512,.->512"), update, 40_000)]
        for op, signature, site, dur_ns in ops:
            builder.span(thread, now_ns, dur_ns, op, signature=signature, callsite=site)
            builder.sample(thread, now_ns + dur_ns, dur_ns, [site])
            now_ns += dur_ns + 1000
    builder.processes[0] = (*builder.processes[0][:3], now_ns + 10**6, -1)
    allocations = builder.series("allocations", "count")
    builder.counter(allocations, now_ns, 48.0 if fixed else 36.0)
    builder.meta |= {
        "machine": {"cpu": "AMD EPYC", "python": "3.13.1" if fixed else "3.11.7"},
        "command": ["python", "/home/me/train.py"],
    }
    return builder.build()


def plain(before: Trace, after: Trace, top: int = 10) -> str:
    """The comparison as it goes into a file."""
    out = io.StringIO()
    print_diff(diff(before, after, top), *NAMES, out)
    return out.getvalue()


GOLD = """
tinytrace: before.json -> after.json
End to end: 87.8 ms -> 69.3 ms, -18.4 ms (-21.0 %), accounted on thread MainThread; one run each, so \
there is no interval.
Steps: 12 -> 12 (found: the loop that the ops are made of), median 3.06 ms -> 1.53 ms, x0.499 (0.499-0.499): faster.
Unpaired: two runs that were not made in turns. What the machine did meanwhile is in the difference; 95 \
% intervals cover what varied within each run.
Too few ops do the same in both to tell the machine's drift: only what differs by more than a factor of \
1.05 is called faster or slower.
Note: different Python: 3.11.7 and 3.13.1.

Work, exact: 3 kinds of call differ
                        before        after
ops                         36           48  changed
FLOPs              616,562,784  616,575,072  changed
exp, log, sqrt...        6,144            0  changed
bytes               46,598,496   23,398,656  changed
uncounted ops                0            0
allocations                 36           48  changed
peak of arrays       not known    not known

Work that changed (3 of 3)
op          calls        FLOPs           T           bytes  call site and operands
matmul         12         617M           0  46.5M -> 23.2M  train.py:44 forward (was train.py:42 \
forward)  float32[64,784] float32[784,512] -> float32[64,512] (was float64[64,784] float64[784,512] -> \
float64[64,512])
multiply  - -> 24  - -> 12,288      - -> 0       - -> 147k  train.py:62 update  float32[512] \
float32[512] -> float32[512]
power     12 -> -       0 -> -  6,144 -> -     98,400 -> -  train.py:60 update  float64[512] float64[] \
-> float64[512]
T: evaluations of exp, log, sqrt...; they are not FLOPs.

Ops and spans that moved the time (3 of 3)
op          change  % change   before    after    calls              per call             verdict  call \
site and operands
matmul    -18.0 ms      97.7  36.0 ms  18.0 ms       12  x0.500 (0.500-0.500)  faster, other work  \
train.py:44 forward (was train.py:42 forward)  float32[64,784] float32[784,512] -> float32[64,512] (was \
float64[64,784] float64[784,512] -> float64[64,512])
power      -480 us       2.6   480 us        -  12 -> -                     -                gone  \
train.py:60 update  float64[512] float64[] -> float64[512]
multiply  +48.0 us      -0.3        -  48.0 us  - -> 24                     -                 new  \
train.py:62 update  float32[512] float32[512] -> float32[512]
Together: these rows -18.4 ms (100.1 % of the change), outside of these +12.0 us = -18.4 ms.

Sampled lines that moved the time (2 of 2)
line                             change  % change   before    after   samples                  ratio    \
   verdict  function
train.py:44 (was train.py:42)  -18.0 ms      97.7  36.0 ms  18.0 ms  12 -> 12    x0.500 (0.225-1.11)  \
inconclusive  forward
train.py:62 (was train.py:60)   -432 us       2.3   480 us  48.0 us  12 -> 24  x0.100 (0.0500-0.200)    \
    faster  update
Together: these rows -18.4 ms (100.1 % of the change), in no line +12.0 us = -18.4 ms.
"""


def test_the_comparison_in_a_file_is_this_text() -> None:
    assert plain(run(fixed=False), run(fixed=True)) == GOLD


def test_the_manual_explains_the_very_text() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "diff.md").read_text(encoding="utf-8")
    assert GOLD in manual


def test_equal_traces_are_said_to_be_identical_and_nothing_else() -> None:
    lines = plain(run(fixed=True), run(fixed=True)).splitlines()
    assert lines[-1] == "The two traces are identical: 69.3 ms, 48 ops."
    assert len(lines) == 3


def test_what_ran_in_another_thread_is_beside_the_account() -> None:
    traces = []
    for dur_ns in (5000, 9000):
        builder = TraceBuilder()
        builder.process(1, end_ns=START_NS + 10**6)
        builder.thread(0, 1)
        worker = builder.thread(0, 2, "worker")
        builder.span(worker, START_NS, dur_ns, "add")
        traces.append(builder.build())
    text = plain(traces[0], traces[1])
    assert "add  beside            5.00 us  9.00 us" in text
    assert "beside: in other threads" in text


def test_runs_of_different_length_are_said_to_be_compared_per_step() -> None:
    text = plain(steps(10), steps(20))
    assert "\nStep, mean: 3.00 us -> 3.00 us, +0 ns (+0.0 %)" in text
    assert "The numbers of steps differ: everything below is what ran in steps, per step." in text
    assert (
        "Steps: 10 -> 20 (marked by the program), median 3.00 us -> 3.00 us, x1.00 (1.00-1.00): equivalent."
        in text
    )
    assert "Work, exact: the same in every kind of call" in text
    assert "Of all 10 and 20 steps; what follows is per step." in text


def steps(n: int) -> Trace:
    """So many equal steps."""
    return trace_of(" ".join(["step(add[8,8->8]:3)"] * n))


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_on_a_terminal_numbers_and_names_are_whole_at_any_width(columns: int) -> None:
    found = diff(run(fixed=False), run(fixed=True))
    text = without_colours(printed_on_terminal(columns, lambda out: print_diff(found, *NAMES, out)))
    for word in ("-18.0 ms", "train.py:44 forward (was train.py:42 forward)", "power", "faster"):
        assert word in text
    if columns == 200:
        assert max(cells(line) for line in text.splitlines()) <= 200


@pytest.mark.parametrize("seed", range(20))
def test_any_two_traces_can_be_printed_on_any_terminal(seed: int) -> None:
    found = diff(random_trace(seed), random_trace(seed + 1))
    for encoding in ("utf-8", "ascii"):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        print_diff(found, *NAMES, out)
        out.flush()


def test_names_are_data_and_never_control_a_terminal() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    builder.span(0, START_NS, 10, "\x1b[31mred\n", callsite=builder.frame("f\x07", "/a/\x1b.py", 3))
    noted = replace(builder.build(), meta={"machine": {"cpu": "\x1b[2J"}})
    text = plain(noted, replace(Trace(), meta={"machine": {"cpu": "x"}}))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[31mred\\n" in text


def test_the_command_prints_text_or_json_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    export(run(fixed=False), tmp_path / "before.json")
    export(run(fixed=True), tmp_path / "after.json.gz")
    (tmp_path / "text.json").write_text("hello")
    done = run_commands(
        [
            ["diff", "before.json", "after.json.gz", "--top", "1"],
            ["diff", "before.json", "after.json.gz", "--json"],
            ["diff", "before.json", "before.json", "--json"],
            ["diff", "before.json"],
            ["diff", "before.json", "nothing.json"],
            ["diff", "text.json", "before.json"],
            ["diff", "before.json", "before.json", "--top", "0"],
            ["diff", "-h"],
        ],
        tmp_path,
    )
    text, as_json, same, one, missing, no_trace, no_rows, helped = done
    assert text.code == as_json.code == same.code == helped.code == 0
    assert "Ops and spans that moved the time (1 of 3)" in text.out
    found = json.loads(as_json.out)
    assert found["files"] == {"before": "before.json", "after": "after.json.gz"}
    assert [row["name"] for row in found["ops"]] == ["matmul", "power", "multiply"]
    assert found["ops"][0]["verdict"] == "faster"
    assert found["ops"][0]["before"]["flops"] == 12 * 2 * 64 * 784 * 512
    assert found["work_after"]["allocations"] == 48
    assert found["identical"] is False
    assert json.loads(same.out)["identical"] is True
    assert (one.code, missing.code, no_trace.code, no_rows.code) == (2, 3, 4, 2)
    assert "after" in one.line
    assert "nothing.json" in missing.line
    assert "must be a number of rows" in no_rows.line
    assert helped.out.startswith("usage: python -m tinytrace diff ")
    assert done[0].err == done[1].err == ""


BEFORE = """\
import numpy as np

def activate(x):
    return x ** 3 + np.exp(-x)

def norm(x):
    return np.sqrt((x * x).sum())

x = np.linspace(0, 1, 20_000)
for _ in range(40):
    y = activate(x)
    norm(y)
"""
AFTER = """\
\"\"\"The same, without a power, and with a documentation.\"\"\"
import numpy as np

def activate(x):
    # pow() evaluates a logarithm and an exponential.
    return x * x * x + np.exp(-x)

def norm(x):
    return np.sqrt((x * x).sum())

x = np.linspace(0, 1, 20_000)
for _ in range(40):
    y = activate(x)
    norm(y)
"""


def test_a_real_program_before_and_after_a_fix(tmp_path: Path) -> None:
    for name, text in (("before", BEFORE), ("after", AFTER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program.py").write_text(text)
    for name in ("before", "after"):
        command = ["-m", "tinytrace", "-q", "-o", f"{name}.json", f"{name}/program.py"]
        subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)
    command = ["diff", "before.json", "after.json", "--top", "1000", "--json"]
    [compared] = run_commands([command], tmp_path)
    found = json.loads(compared.out)
    ops = {
        (row["name"], row["callsite_before"], row["callsite_after"]): row for row in found["ops"]
    }
    power = ops["power", "program.py:4 activate", None]
    assert power["verdict"] == "gone"
    assert power["before"]["calls"] == 40
    assert power["before"]["transcendentals"] == 40 * 20_000
    products = [row for row in found["ops"] if row["callsite_after"] == "program.py:6 activate"]
    products = [row for row in products if row["name"] == "multiply"]
    assert [row["verdict"] for row in products] == ["new", "new"]
    assert {row["operands_after"] for row in products} == {
        "float64[20000] same -> float64[20000]",
        "float64[20000] float64[20000] -> float64[20000]",
    }
    assert [row["after"]["calls"] for row in products] == [40, 40]
    exp = ops["exp", "program.py:4 activate", "program.py:6 activate"]
    assert exp["same_work"]
    assert exp["before"]["calls"] == exp["after"]["calls"] == 40
    assert exp["per_call"]["low"] <= exp["per_call"]["value"] <= exp["per_call"]["high"]
    assert ops["multiply", "program.py:7 norm", "program.py:9 norm"]["same_work"]
    changed = {row["name"] for row in found["work"] if row["kind"] == "op"}
    assert changed == {"power", "multiply"}
    work = found["work_before"], found["work_after"]
    assert work[1]["op_calls"] - work[0]["op_calls"] == 40
    assert work[0]["transcendentals"] - work[1]["transcendentals"] == 40 * 20_000
    account = found["account"]
    parts = account["listed_delta_ns"] + account["unlisted_delta_ns"] + account["rest_delta_ns"]
    assert parts == pytest.approx(account["delta_ns"])
    assert not any("different" in note for note in found["notes"])


def test_what_changed_is_told_per_step_where_the_numbers_of_steps_differ() -> None:
    more = trace_of(" ".join(["step(add[8,8->8]:3 add[8,8->8]:3)"] * 20))
    text = plain(steps(10), more)
    assert "add  1 -> 2  8 -> 16  0  192 -> 384" in text
