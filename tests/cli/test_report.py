"""``report``: the text, the JSON, and what goes wrong with it."""

from __future__ import annotations

import doctest
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from tests.analysis.test_memory_report import run as steps_that_make_arrays
from tests.builders import START_NS, TraceBuilder, signature_of, trace_of, traces
from tests.cli.commands import Done, run_commands
from tests.cli.terminal import printed_on_terminal
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis import figures
from tinytrace.analysis.report import Sort, report_of
from tinytrace.analysis.roofline_points import roofline_of
from tinytrace.cli import layout, steps_text
from tinytrace.cli.layout import cells
from tinytrace.cli.report_text import print_report
from tinytrace.exporters import export
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

US = 1000


def training_run() -> Trace:
    """Four steps of 250 µs: a product of 60, a copy of 10, a call of a tiny op, Python."""
    builder = TraceBuilder()
    builder.process(7, "train.py", START_NS, START_NS + 1000 * US)
    thread = builder.thread(0, 7)
    forward, update = (
        builder.frame(name, "/home/me/train.py", line)
        for name, line in (("forward", 42), ("update", 57))
    )
    product = signature_of("matmul", "100x100,100x100->100x100")
    duplicate, tiny = signature_of("copy", "45000->45000"), signature_of("exp", "4->4")
    for number in range(4):
        now_ns = START_NS + number * 250 * US
        step = builder.span(thread, now_ns, 250 * US, "step", kind=Kind.STEP, step=number)
        for offset_us, dur_us, op, sig, site in (
            (0, 60, "matmul", product, forward), (100, 10, "copy", duplicate, update), (200, 0.7, "exp", tiny, update),
        ):  # fmt: skip
            builder.span(
                thread, now_ns + offset_us * US, int(dur_us * US), op, signature=sig, callsite=site,
                parent=step, step=number,
            )  # fmt: skip
    for number in range(9):
        line = [forward if number % 2 else update]
        t_ns = START_NS + (number + 1) * 100 * US
        builder.sample(thread, t_ns, 100 * US, line, 0 if number == 8 else 100 * US)
    builder.meta["audit"] = {
        "core": "c", "asked_hz": 10_000.0, "achieved_hz": 9_990.0, "largest_gap_ns": 100_000, "dropped": 0,
        "overhead_ns_per_op": 100, "own_overhead_percent": 0.12,
    }  # fmt: skip
    return with_peaks(builder.build())


def plain(trace: Trace) -> str:
    """The report as it goes into a file."""
    out = io.StringIO()
    print_report(report_of(trace), out)
    return out.getvalue()


def shown_in_manual() -> str:
    """The report that docs/report.md explains."""
    manual = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    return manual.split("```\n")[1]


def test_the_manual_explains_the_very_text() -> None:
    assert plain(training_run()) == shown_in_manual()


@pytest.mark.parametrize("columns", [30, 80, 120])
def test_a_terminal_gets_the_same_words(columns: int) -> None:
    report = report_of(training_run())
    printed = printed_on_terminal(columns, lambda out: print_report(report, out))
    heads = {
        "most",
        "verdict",
        "call",
        "site",
        "function",
        "samples",
    }  # above what stands below its row
    words = [word for word in plain(training_run()).split() if len(word) > 3 and word not in heads]
    assert [word for word in words if word not in printed] == []
    if columns == 120:
        assert max(cells(line) for line in printed.splitlines()) <= 120 + len("\x1b[1m\x1b[0m")


def test_a_trace_without_anything_says_what_is_missing() -> None:
    text = plain(Trace())
    for said in (
        "No verdicts: the trace has no roofs", "No account", "No NumPy operation", "No line of the program",
        "What could be won is not known",
    ):  # fmt: skip
        assert said in text


def test_a_trace_without_samples_says_so() -> None:
    text = plain(with_peaks(trace_of("add[8,8->8]:5@a.py:1:f")))
    assert "from samples, of which there are none." in text
    assert "(not known) sampled" not in text


def test_the_other_ways_of_grouping_name_their_rows() -> None:
    trace = training_run()
    out = io.StringIO()
    print_report(report_of(trace, by="callsite", sort="gain", top=1), out)
    assert "Top call sites by gain (1 of 2)" in out.getvalue()
    assert "train.py:42 forward" in out.getvalue()
    assert ", mostly matmul" in out.getvalue()


def test_names_of_the_program_cannot_play_with_the_terminal() -> None:
    trace = trace_of("evil:5")
    strings = tuple("\x1b[31mred\n" if text == "evil" else text for text in trace.strings)
    assert "\x1b" not in plain(replace(trace, strings=strings))


@given(traces())
def test_every_trace_can_be_reported(trace: Trace) -> None:
    assert plain(with_peaks(trace)).startswith("tinytrace: ")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What these commands do, by their words."""
    folder = tmp_path_factory.mktemp("report")
    export(training_run(), folder / "trace.json")
    whole = (folder / "trace.json").read_bytes()
    (folder / "cut.json").write_bytes(whole[: len(whole) * 9 // 10])
    (folder / "foreign.json").write_text(
        json.dumps([{"ph": "X", "name": "f", "ts": 1, "dur": 2, "pid": 1, "tid": 1}])
    )
    (folder / "text.json").write_text("hello")
    commands = [
        "report trace.json", "report trace.json --json --top 1 --by step", "report cut.json", "report foreign.json",
        "report text.json", "report nothing.json", "report", "report trace.json --top 0",
        "report trace.json --by colour", "report trace.json --sort colour", "report -h",
    ]  # fmt: skip
    return dict(zip(commands, run_commands([c.split() for c in commands], folder), strict=True))


def test_the_command_prints_the_report_of_a_saved_trace(done: dict[str, Done]) -> None:
    assert done["report trace.json"] == Done(0, plain(training_run()), "")


def test_json_is_for_programs(done: dict[str, Done]) -> None:
    found = done["report trace.json --json --top 1 --by step"]
    values = json.loads(found.out)
    assert (found.code, found.err) == (0, "")
    assert values["by"] == "step"
    assert len(values["ops"]) == 1
    account = values["account"]
    assert sum(entry["spent_ns"] for entry in account["entries"]) == account["wall_ns"]
    assert values["peaks"]["fingerprint"] == "made by hand"


def test_a_truncated_trace_is_reported_as_far_as_it_goes(done: dict[str, Done]) -> None:
    found = done["report cut.json"]
    assert found.code == 0
    assert "Warning: " in found.out


def test_a_foreign_trace_is_reported_as_far_as_it_is_known(done: dict[str, Done]) -> None:
    assert done["report foreign.json"].code == 0
    assert "No verdicts" in done["report foreign.json"].out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("report text.json", 4, "not a trace"),
        ("report nothing.json", 3, "nothing.json"),
        ("report", 2, "trace"),
        ("report trace.json --top 0", 2, "must be a whole number, at least 1"),
        ("report trace.json --by colour", 2, "invalid choice: 'colour'"),
        ("report trace.json --sort colour", 2, "invalid choice: 'colour'"),
    ],
)
def test_what_is_wrong_is_one_line(
    done: dict[str, Done], command: str, code: int, said: str
) -> None:
    found = done[command]
    assert (found.code, found.out) == (code, "")
    assert said in found.line


def test_the_help_has_examples(done: dict[str, Done]) -> None:
    assert "--by layer --sort gain" in done["report -h"].out


def test_steps_and_memory_are_in_the_text_and_in_the_json() -> None:
    report = report_of(training_run())
    text, told = plain(training_run()), report.to_json()
    assert "Steps: 4, marked by the program (confidence: certain)" in text
    assert "median 250 us" in text and "Memory is not known" in text
    assert told["steps"]["p50_ns"] == 250_000.0
    assert told["steps"]["steps"]["start_ns"] == report.steps.steps.start_ns.tolist()
    (process,) = told["memory"]["processes"]
    assert process["resident"] is None
    assert sum(one["bytes"] for one in process["modelled_temporaries"]) == 4 * (
        80_000 + 360_000 + 32
    )


def test_without_steps_the_reason_is_said() -> None:
    assert "No steps: " in plain(trace_of("add"))


def with_memory() -> Trace:
    """A run of whose arrays readings were made, with a gap."""
    builder = TraceBuilder()
    builder.process(7, "train.py", START_NS, START_NS + 1000 * US)
    builder.span(builder.thread(0, 7), START_NS, US, "add")
    series = builder.series("array_mb", "MB")
    for at, value in (
        (0, 1.0),
        (50, 1.0),
        (100, 4.0),
        (150, 1.0),
        (450, 2.0),
        (500, 1.0),
        (800, 0.0),
        (790, 0.0),
    ):
        builder.counter(series, START_NS + at * US, value)
    return builder.build()


def test_memory_is_drawn_in_blocks_from_0_up() -> None:
    text = plain(with_memory())
    assert "arrays   |█ ▄▁| 0.00 kB to 4.00 MB" in text
    assert "a block: the most in its part of 800 us, drawn from 0 up; a space: no reading." in text


def test_memory_is_drawn_in_ascii_where_there_are_no_blocks() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_report(report_of(with_memory()), out)
    out.flush()
    assert b"arrays   |# -_| 0.00 kB to 4.00 MB" in out.buffer.getvalue()


def test_a_terminal_gets_a_roofline_and_a_narrow_one_does_not() -> None:
    trace = training_run()
    report, roofline = report_of(trace), roofline_of(trace)
    wide, narrow = (
        printed_on_terminal(columns, lambda out: print_report(report, out, roofline=roofline))
        for columns in (80, 30)
    )
    assert "GFLOP/s\n" in wide and "FLOPs per byte\n" in wide
    assert "a matmul float64 L2." in wide
    assert "FLOPs per byte" not in narrow
    assert "FLOPs per byte" not in plain(trace)


def test_a_reason_that_several_ops_have_is_said_once() -> None:
    sig = "[1000x1000,1000x1000->1000x1000]:90000"
    report = report_of(with_peaks(trace_of(f"add{sig} multiply{sig} subtract{sig}")))
    reasons = {"add": ("strided", "small"), "multiply": ("strided",), "subtract": ("uneven: 3",)}
    rows = tuple(replace(row, reasons=reasons[row.group.op]) for row in report.ops)
    out = io.StringIO()
    print_report(replace(report, ops=rows), out)
    assert "\n  add: small\n  subtract: uneven: 3\n  add, multiply: strided\n" in out.getvalue()


def test_examples_of_the_layout_run() -> None:
    for module in (figures, layout, steps_text):
        failed, run = doctest.testmod(module)
        assert failed == 0
        assert run > 0


def test_what_a_trace_warns_of_comes_first() -> None:
    lines = plain(replace(training_run(), warnings=("half of it is missing",))).splitlines()
    assert lines[1] == "Warning: half of it is missing"
    assert sum("half of it" in line for line in lines) == 1


def test_an_empty_trace_has_nothing_to_cover() -> None:
    assert "Coverage: there is no time to explain; there are no ops to count." in plain(Trace())


@pytest.mark.parametrize(
    ("sort", "head", "cell"),
    [("total", "total", "240 us"), ("flops", "FLOPs", "8M"), ("bytes", "bytes", "2.88 MB")],
)
def test_the_column_that_the_ops_are_sorted_by_is_shown(sort: Sort, head: str, cell: str) -> None:
    out = io.StringIO()
    print_report(report_of(training_run(), sort=sort, top=1), out)
    table = out.getvalue().split("Top ops")[1].splitlines()[1:3]
    assert head in table[0].split()
    assert f"  {cell}  " in table[1]  # 4 · 2 · 100³ FLOPs; 4 · 2 · 45,000 · 8 bytes


def test_temporaries_are_named_with_what_their_ops_took() -> None:
    text = plain(steps_that_make_arrays(40, live_mb={500: 1.0, 39_500: 2.0}).build())
    assert "most by: exp a.py:2 64.0 kB (80 results of ops that took 8.00 us)" in text
